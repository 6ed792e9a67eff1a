"""What a head does at one token of text, named by rule (Successor Heads, section 4).

Rules see texts alone: the few tokens that the head attends to most, all that stands before, and
the next token. A token cut out of a word stands for its word, too: `19|45` is 1945.

- `succession`: the next token comes right after an attended one in an ordinal task, spelling
  apart. Not across tasks: from `twelve` to `13` is a translation, too.
- `copying`: it is the attended one, up to space and capitals.
- `acronym`: it is the part of an acronym in capitals whose words have these initials, and the head
  attends to one of these words: `Head` where `H` ends `Successor Head (SH`.
- `greater-than`: both are of one task, and it comes later, but not right after. Not of letters:
  single letters in text are words (`a`, `I`) whose order says nothing.

The first three hold for hardly more than one next token, so any of them explains the case; if two
do, for different attended tokens, the one with more attention decides. Greater-than holds for half
of all pairs of numbers, so it counts only where none of the first three does.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from lm.ordinals import OrdinalTask, load_tasks

CLASSES = ("succession", "copying", "acronym", "greater-than", "other")
MOST = 3
"""Attended tokens that are looked at."""
LEAST_WEIGHT = 0.1
"""Attention below which a token is not looked at."""
UNORDERED = ("letters",)
"""Tasks in which later is not greater."""
FURTHER = {
    "ordinal_words": "first second third fourth fifth sixth seventh eighth ninth tenth eleventh "
    "twelfth thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth",
    "roman_numerals": "I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI XVII XVIII XIX XX",
}
"""Tasks of `lm/tasks.yaml` that text carries further; of numbers, it has any."""
SMALL_WORDS = frozenset("a an and for in of on the to".split())
"""Words that acronyms may leave out."""
AROUND = 8
"""Tokens on either side within which a word begins and ends."""
LONGEST_NUMBER = 18
"""Digits."""
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+")


class Following(NamedTuple):
    """The next token, and the word that it is of."""

    token: str
    word: str
    """Empty for punctuation."""
    before: int
    """Letters of the word that stand before the token."""
    part: str
    """What the token has of the word."""


class Attended(NamedTuple):
    """A token that the head attends to."""

    token: str
    word: int | None
    """Its place among the words; None for punctuation."""
    part: str
    """What the token has of the word."""


class Reading(NamedTuple):
    """What a head reads where it foretells a token."""

    attended: list[Attended]
    """Most attention first."""
    words: list[str]
    """Of the text so far, in order."""
    unfinished: bool
    """Whether the text so far ends within, or at the end of, its last word."""


def read(pieces: Sequence[str], attention: Sequence[tuple[int, float]]) -> Reading:
    """What a head reads.

    Args:
        pieces: texts of the tokens so far, the current one last.
        attention: position and weight of the tokens attended to.
    """
    text, starts = _joined(pieces)
    words = list(_WORD.finditer(text))
    most = sorted(attention, key=lambda pair: -pair[1])[:MOST]
    attended = []
    for position, weight in most:
        if weight < LEAST_WEIGHT:
            continue
        start, end = starts[position], starts[position + 1]
        place = next((i for i, w in enumerate(words) if w.end() > start and w.start() < end), None)
        part = "" if place is None else _overlap(text, words[place], start, end)
        attended.append(Attended(pieces[position], place, part))
    unfinished = bool(words) and words[-1].end() == len(text)
    return Reading(attended, [word.group() for word in words], unfinished)


def following(pieces: Sequence[str], at: int) -> Following:
    """The token after position `at`, in its word.

    Args:
        pieces: texts of the tokens, beyond the next one as far as its word goes.
        at: position of the current token.
    """
    first = max(0, at + 1 - AROUND)
    text, starts = _joined(pieces[first : at + 2 + AROUND])
    start, end = starts[at + 1 - first], starts[at + 2 - first]
    for word in _WORD.finditer(text):
        if word.end() > start and word.start() < end:
            before = max(0, start - word.start())
            return Following(pieces[at + 1], word.group(), before, _overlap(text, word, start, end))
    return Following(pieces[at + 1], "", 0, "")


def classify(reading: Reading, following: Following) -> str:
    """The class of a case, one of `CLASSES`: what the head reads, and the next token."""
    later = False
    for attended in reading.attended:
        pairs = list(_compared(reading, attended, following))
        steps = [_step(a, b) for a, b in pairs]
        if "successor" in steps:
            return "succession"
        if _same(attended.token, following.token) or any(a == b for a, b in pairs):
            return "copying"
        if _is_acronym(reading, attended, following):
            return "acronym"
        later = later or "later" in steps
    return "greater-than" if later else "other"


def _compared(
    reading: Reading, attended: Attended, following: Following
) -> Iterator[tuple[str, str]]:
    """The two words in lower case; of numbers that are cut in two, the two tokens' digits, too."""
    if attended.word is None or not following.word or _continued(reading, attended, following):
        return
    yield reading.words[attended.word].casefold(), following.word.casefold()
    if attended.part.isdigit() and following.part.isdigit():
        yield attended.part, following.part


def _continued(reading: Reading, attended: Attended, following: Following) -> bool:
    """Whether the next token goes on with the very word that is attended to."""
    last = attended.word == len(reading.words) - 1
    return last and reading.unfinished and following.before > 0


def _step(a: str, b: str) -> str:
    """`successor` or `later`, from a to b, or nothing."""
    if a.isdigit() and b.isdigit():
        if max(len(a), len(b)) > LONGEST_NUMBER or int(b) <= int(a):
            return ""
        return "successor" if int(b) == int(a) + 1 else "later"
    found = ""
    for name, order in _orders().items():
        places = order.places
        if a in places and b in places:
            if order.task.following(places[a]) == places[b]:
                return "successor"
            if name not in UNORDERED and places[b] > places[a]:
                found = "later"
    return found


def _is_acronym(reading: Reading, attended: Attended, following: Following) -> bool:
    """Whether the attended word's initial is in the token's part of an acronym spelled out before.

    The words of an acronym stand one after another, small ones left out or not; an `s` at its end
    makes a plural.
    """
    acronym = following.word.removesuffix("s")
    if attended.word is None or len(acronym) < 2 or not acronym.isupper():
        return False
    words = reading.words[:-1] if following.before and reading.unfinished else reading.words
    for left_out in (frozenset(), SMALL_WORDS):
        kept = [i for i, word in enumerate(words) if word.casefold() not in left_out]
        if attended.word not in kept:
            continue
        initials = "".join(words[i][0].upper()[0] for i in kept)
        place = kept.index(attended.word)
        for slot in range(following.before, following.before + len(following.part)):
            first = place - slot
            if first >= 0 and initials[first : first + len(acronym)] == acronym:
                return True
    return False


class _Order(NamedTuple):
    task: OrdinalTask
    places: dict[str, int]
    """The index of each word, in lower case."""


@cache
def _orders() -> dict[str, _Order]:
    longer = {name: OrdinalTask(elements=tuple(words.split())) for name, words in FURTHER.items()}
    return {
        name: _Order(task, {text.strip().casefold(): i for i, _, text in task.spellings()})
        for name, task in (load_tasks() | longer).items()
        if task.elements
    }


def _same(a: str, b: str) -> bool:
    """Up to space and capitals; two kinds of space are two."""
    return (a.strip() or a).casefold() == (b.strip() or b).casefold()


def _joined(pieces: Sequence[str]) -> tuple[str, list[int]]:
    """The text, and where each piece starts in it; the end of the last comes last."""
    starts = [0]
    for piece in pieces:
        starts.append(starts[-1] + len(piece))
    return "".join(pieces), starts


def _overlap(text: str, word: re.Match[str], start: int, end: int) -> str:
    return text[max(start, word.start()) : min(end, word.end())]
