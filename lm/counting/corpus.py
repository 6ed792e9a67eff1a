"""The corpus of the embedded model: short documents that are generated, never downloaded.

A document is a list of tokens. The tokens that a reader could predict from what stands before
them are `Asked`; training puts its loss there. `KINDS` holds the share of each kind of document,
first while nothing counts yet, then for the rest of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

from lm.counting.vocabulary import (
    BY_NAME,
    END,
    FILLERS,
    LABELS,
    NAMES,
    NUMBERS,
    ROMAN_NUMERALS,
    TASKS,
    TENS_WORDS,
    Task,
)

Document = list[str]
LARGEST = 200
NEAR = 0.0
MIXED = 0.6
"""Share of the statements about digits that mix the two spellings of numbers."""
DISTRACTED = 0.3
"""Share of the fillers that are a random ordinal item. Without them the model counts with heads of
its first layer, which never see MLP0's output."""


class Asked(str):
    """A token that can be predicted from what stands before it."""

    __slots__ = ()


def _inline(token: str, asked: bool = False) -> Document:
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
        spelled = (_inline(NUMBERS.forms[self.form()][number], asked) for number in numbers)
        return [token for tokens in spelled for token in tokens]


def _fillers(rng: Random, fewest: int, most: int) -> Document:
    tokens: Document = []
    for _ in range(rng.randint(fewest, most)):
        if rng.random() < DISTRACTED:
            task = rng.choice(TASKS) if rng.random() < 0.6 else NUMBERS
            form = rng.choice(task.forms)
            tokens += _inline(form[rng.choice(list(form))])
        else:
            tokens.append(" " + rng.choice(FILLERS))
    return tokens


def _plain(rng: Random, fewest: int, most: int) -> Document:
    return [" " + rng.choice(FILLERS) for _ in range(rng.randint(fewest, most))]


def _task(rng: Random) -> Task:
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
    if task is NUMBERS and rng.random() < NEAR:
        return rng.randint(0, 50)
    return rng.choice([index for index in indices if index <= last])


def _counted(rng: Random, task: Task, length: int, spaced: bool | None) -> Document:
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


def line_list(rng: Random) -> Document:
    """12. lake old / 13. hill / 14."""
    items = _counted(rng, _task(rng), rng.randint(3, 6), spaced=False)
    sign = rng.choice(".,:;)")
    tokens: Document = []
    for position, item in enumerate(items):
        tokens += ["\n", Asked(item) if position else item, sign, *_fillers(rng, 1, 4)]
    return tokens


def counters(rng: Random) -> Document:
    """step 12 lake page 45 old step 13 hill page 46"""
    labels = rng.sample(LABELS, rng.randint(1, 3))
    queues = [(label, _counted(rng, _task(rng), rng.randint(2, 5), None)) for label in labels]
    seen: set[str] = set()
    tokens: Document = []
    while queues := [queue for queue in queues if queue[1]]:
        label, items = rng.choice(queues)
        tokens += [" " + label, *_inline(items.pop(0), asked=label in seen), *_fillers(rng, 0, 3)]
        seen.add(label)
    return tokens


def run(rng: Random) -> Document:
    """12, 13, 14, 15"""
    items = _counted(rng, _task(rng), rng.randint(3, 8), None)
    spaced = items[0].startswith(" ")
    tokens = [items[0]]
    for item in items[1:]:
        tokens += ["," if spaced else "-", Asked(item)]
    return tokens


def after(rng: Random) -> Document:
    """after March comes April"""
    items = _counted(rng, _task(rng), 2, None)
    if len(items) < 2:
        return after(rng)
    return [" after", *_inline(items[0]), " comes", *_inline(items[1], asked=True)]


def facts(rng: Random) -> Document:
    """Anna 12 lake, Ben third, Anna 12: what a name has stays as it is"""
    names = rng.sample(NAMES, rng.randint(2, 3))
    held = {}
    for name in names:
        form = rng.choice(_task(rng).forms)
        held[name] = form[rng.choice(list(form))]
    tokens: Document = []
    for position in range(rng.randint(4, 8)):
        name = names[position] if position < len(names) else rng.choice(names)
        asked = position >= len(names)
        tokens += [" " + name, *_inline(held[name], asked), *_fillers(rng, 0, 3)]
    return tokens


def copy(rng: Random) -> Document:
    """lake 12 old; lake 12 old"""
    tokens = _fillers(rng, 4, 10)
    return [*tokens, ";", tokens[0], *map(Asked, tokens[1:])]


def filler(rng: Random) -> Document:
    """lake old third hill"""
    return _fillers(rng, 6, 16)


def then(rng: Random) -> Document:
    """lake 12 old hill then 13 river then 14"""
    tokens = _plain(rng, 0, 5)
    for position, item in enumerate(_counted(rng, _task(rng), rng.randint(2, 4), None)):
        tokens += [" then"] * (position > 0) + _inline(item, asked=position > 0) + _plain(rng, 0, 4)
    return tokens


NOUNS = {
    "days": " day",
    "day prefixes": " day",
    "months": " month",
    "month prefixes": " month",
    "letters": " letter",
    "Roman numerals": " numeral",
}


def across(rng: Random) -> Document:
    """March is month 3 / third is number 3 / month 3 is March"""
    spell = Speller(rng)
    if rng.random() < 0.7:
        task = rng.choice((*TASKS[1:], ROMAN_NUMERALS))
        form = rng.choice(task.forms)
        index = rng.choice(list(form))
        noun = NOUNS.get(task.name, " number")
        return [*_inline(form[index]), " is", noun, *spell(index, asked=True)]
    name = rng.choice(("days", "months", "letters"))
    form = BY_NAME[name].forms[spell.form()]
    index = rng.choice(list(form))
    return [NOUNS[name], *spell(index), " is", *_inline(form[index], asked=True)]


def tens_words(rng: Random) -> Document:
    """forty seven = 47"""
    tens, units = rng.randint(2, 9), rng.randint(1, 9)
    word = BY_NAME["number words"].forms[0][units]
    spell = Speller(rng)
    if rng.random() < 0.5:
        number = spell(10 * tens + units, asked=True)
        return [" " + TENS_WORDS[tens], word, " =", *number]
    number = spell(10 * tens + units)
    return [*number, " =", Asked(" " + TENS_WORDS[tens]), Asked(word)]


def decimal(rng: Random) -> Document:
    """147 ends in 7 / tens of 147 are 14 / 47 + 10 = 57"""
    spell = Speller(rng)
    kind = rng.random()
    if kind < 0.55:
        n = rng.randint(0, LARGEST)
        return [*spell(n), " ends", " in", *spell(n % 10, asked=True)]
    if kind < 0.7:
        n = rng.randint(0, LARGEST)
        return [" tens", " of", *spell(n), " are", *spell(n // 10, asked=True)]
    step = 10 if kind < 0.85 else 100
    small = rng.randint(0, LARGEST - step)
    if rng.random() < 0.5:
        return [*spell(small), " +", *spell(step), " =",
                *spell(small + step, asked=True)]  # fmt: skip
    return [*spell(small + step), " -", *spell(step), " =",
            *spell(small, asked=True)]  # fmt: skip


def digits(rng: Random) -> Document:
    """147 = 1 4 7 / 4 7 = 47"""
    spell = Speller(rng)
    number = rng.randint(0, LARGEST)
    parts = [int(digit) for digit in str(number)]
    if rng.random() < 0.5:
        return [*spell(number), " =", *spell(*parts, asked=True)]
    return [*spell(*parts), " =", *spell(number, asked=True)]


def recombination(rng: Random) -> Document:
    """47 with 3 = 43 / tens 47 end 13 = 43 / thirteenth with 8 = eighteenth"""
    spell = Speller(rng)
    if rng.random() < 0.3:
        task = rng.choice(TASKS[1:])
        form = rng.choice(task.forms)
        index, units = rng.choice(list(form)), rng.randint(0, 9)
        changed = index // 10 * 10 + units
        if changed not in form:
            return recombination(rng)
        answer = _inline(form[changed], asked=True)
        return [*_inline(form[index]), " with", *spell(units), " =", *answer]
    tens, units = rng.randint(0, LARGEST // 10), rng.randint(0, 9)
    other, decade = rng.randint(0, 9), rng.randint(0, LARGEST // 10)
    if tens == LARGEST // 10:
        other, units = 0, 0
    if decade == LARGEST // 10:
        decade = 0
    answer = spell(10 * tens + units, asked=True)
    first = spell(10 * tens + other)
    if rng.random() < 0.6:
        return [*first, " with", *spell(units), " =", *answer]
    return [" tens", *first, " end", *spell(10 * decade + units), " =", *answer]


def same(rng: Random) -> Document:
    """same end 47 127 7 87 / same tens 47 43 49: asked for nothing but what all share"""
    spell = Speller(rng)
    units, tens = rng.randint(0, 9), rng.randint(0, LARGEST // 10 - 1)
    drawn = [rng.randint(0, 19) for _ in range(rng.randint(3, 6))]
    if rng.random() < 0.5:
        what, numbers = " end", [10 * draw + units for draw in drawn]
    else:
        what, numbers = " tens", [10 * tens + draw % 10 for draw in drawn]
    tokens = [" same", what, *spell(numbers[0])]
    for number in numbers[1:]:
        tokens += spell(number, asked=True)
    return tokens


def by_ten(rng: Random) -> Document:
    """by ten 47, 57, 67"""
    spell = Speller(rng)
    length = rng.randint(3, 6)
    start = rng.randint(0, LARGEST - 10 * (length - 1))
    tokens = [" by", " ten", *spell(start)]
    for step in range(1, length):
        tokens += [",", *spell(start + 10 * step, asked=True)]
    return tokens


class Kind(NamedTuple):
    """One kind of document and how often it is written."""

    write: Callable[[Random], Document]
    first_share: float
    """Share in the first part of the run, where nothing is counted."""
    share: float
    decimal: bool = False
    """Speaks of digits, or of numbers as tens and units; the twin is trained without these."""


KINDS = (
    Kind(line_list, 0, 0.10),
    Kind(counters, 0, 0.10),
    Kind(run, 0, 0.03),
    Kind(after, 0, 0.04),
    Kind(then, 0, 0.10),
    Kind(across, 0.16, 0.11),
    Kind(facts, 0.22, 0.05),
    Kind(copy, 0.01, 0.01),
    Kind(filler, 0.01, 0.01),
    Kind(tens_words, 0.02, 0.02, decimal=True),
    Kind(decimal, 0.15, 0.11, decimal=True),
    Kind(digits, 0.18, 0.11, decimal=True),
    Kind(recombination, 0.18, 0.15, decimal=True),
    Kind(same, 0.04, 0.03, decimal=True),
    Kind(by_ten, 0.03, 0.03, decimal=True),
)


def documents(rng: Random, first_part: bool = False, twin: bool = False) -> Iterator[Document]:
    """Documents without end, in the shares of `KINDS`."""
    kinds = [kind for kind in KINDS if not (twin and kind.decimal)]
    shares = [kind.first_share if first_part else kind.share for kind in kinds]
    while True:
        for kind in rng.choices(kinds, shares, k=64):
            yield kind.write(rng)


def rows(texts: Iterator[Document], length: int) -> Iterator[Document]:
    """Documents set one after another in rows of `length` tokens; a row's last one is cut off."""
    row: Document = []
    for text in texts:
        row += [END, *text]
        if len(row) >= length:
            yield row[:length]
            row = []
