"""How the documents of the corpus write items, and the fillers between them."""

from __future__ import annotations

from random import Random

from lm.counting.vocabulary import FILLERS, NUMBERS, ROMAN_NUMERALS, TASKS, Task

Document = list[str]
LARGEST = 200
MIXED = 0.6
"""Share of the statements about digits that mix the two spellings of numbers."""
DISTRACTED = 0.3
"""Share of the fillers that are a random ordinal item. Without them the model counts with heads of
its first layer, which never see MLP0's output."""


class Asked(str):
    """A token that can be predicted from what stands before it."""

    __slots__ = ()


def inline(token: str, asked: bool = False) -> Document:
    """An item within a line: ` 47`, or ` #47` for a spelling without a space."""
    token = Asked(token) if asked else token
    return [token] if token.startswith(" ") else [" #", token]


class Speller:
    """Writes the numbers of one statement: all with a space, all without, or mixed.

    Where all are alike, each spelling would get digits of its own; the mixed statements tie the
    two together.
    """

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        draw = rng.random()
        self.spaced = None if draw < MIXED else draw < (1 + MIXED) / 2

    def form(self) -> int:
        spaced = self.rng.random() < 0.5 if self.spaced is None else self.spaced
        return 0 if spaced else 1

    def __call__(self, *numbers: int, asked: bool = False) -> Document:
        spelled = (inline(NUMBERS.forms[self.form()][number], asked) for number in numbers)
        return [token for tokens in spelled for token in tokens]


def fillers(rng: Random, fewest: int, most: int) -> Document:
    """Words that mean nothing, with an item here and there to distract."""
    tokens: Document = []
    for _ in range(rng.randint(fewest, most)):
        if rng.random() < DISTRACTED:
            task = rng.choice(TASKS) if rng.random() < 0.6 else NUMBERS
            form = rng.choice(task.forms)
            tokens += inline(form[rng.choice(list(form))])
        else:
            tokens.append(" " + rng.choice(FILLERS))
    return tokens


def plain(rng: Random, fewest: int, most: int) -> Document:
    """Words that mean nothing."""
    return [" " + rng.choice(FILLERS) for _ in range(rng.randint(fewest, most))]


def draw_task(rng: Random) -> Task:
    """A task to count in: numbers more often than not."""
    draw = rng.random()
    if draw < 0.55:
        return NUMBERS
    return ROMAN_NUMERALS if draw > 0.99 else rng.choice(TASKS[1:])


def _start(rng: Random, task: Task, length: int) -> int:
    """An index from which `length` items can be counted, as far as the task has them."""
    indices = list(task.forms[0])
    if task.cyclic:
        return rng.choice(indices)
    last = max(indices[0], indices[-1] - length + 1)
    return rng.choice([index for index in indices if index <= last])


def counted(rng: Random, task: Task, length: int, spaced: bool | None) -> Document:
    """Up to `length` successive items of a task in one spelling."""
    forms = task.forms
    if spaced is not None:
        forms = [form for form in forms if min(form.values()).startswith(" ") == spaced]
    form = rng.choice(forms)
    index = _start(rng, task, length)
    items: Document = []
    while len(items) < length and index in form:
        items.append(form[index])
        index = index % len(form) + 1 if task.cyclic else index + 1
    return items
