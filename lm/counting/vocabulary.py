"""The words that the embedded model knows, and its tokenizer.

Every ordinal item is one token in every spelling (` 12` and `12` are two tokens), so that the
model has something to count with at the level of tokens, as GPT-2 and Pythia have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END = "<|endoftext|>"
UNKNOWN = "<unk>"
SPLIT = r" ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]|\s"


class Task(NamedTuple):
    """An ordinal sequence: January, February, ... in each of its spellings."""

    name: str
    cyclic: bool
    forms: tuple[dict[int, str], ...]
    """For each spelling, index -> token. Indices count from 1, those of numbers from 0."""


def _task(
    name: str, items: dict[int, str], cases: tuple[Callable[[str], str], ...], cyclic: bool = False
) -> Task:
    forms = (
        {index: space + case(word) for index, word in items.items()}
        for case in cases
        for space in (" ", "")
    )
    return Task(name, cyclic, tuple(forms))


def _count(words: str, first: int = 1) -> dict[int, str]:
    return dict(enumerate(words.split(), start=first))


NUMBER_WORDS = _count(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)
ORDINAL_WORDS = _count(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
DAYS = _count("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _count(
    "January February March April May June July August September October November December"
)
LETTERS = _count(" ".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
ROMAN = _count("I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI XVII XVIII XIX XX")
TENS_WORDS = _count("twenty thirty forty fifty sixty seventy eighty ninety", first=2)

NUMBERS = _task("numbers", {n: str(n) for n in range(201)}, (str,))
TASKS = (
    NUMBERS,
    _task("number words", NUMBER_WORDS, (str, str.capitalize)),
    _task("ordinal words", ORDINAL_WORDS, (str, str.capitalize)),
    _task("days", DAYS, (str,), cyclic=True),
    _task("day prefixes", {i: day[:3] for i, day in DAYS.items()}, (str,), cyclic=True),
    _task("months", MONTHS, (str,), cyclic=True),
    _task("month prefixes", {i: month[:3] for i, month in MONTHS.items()}, (str,), cyclic=True),
    _task("letters", LETTERS, (str, str.lower)),
)
BY_NAME = {task.name: task for task in TASKS}
# I, V and X are letters already, and their successors as letters are others: they are left out.
ROMAN_NUMERALS = _task("Roman numerals", {i: r for i, r in ROMAN.items() if len(r) > 1}, (str,))

NAMES = (
    "Anna Ben Clara David Emma Frank Grace Henry Iris Jack Kate Leo Nora Oscar Paul Vera".split()
)
LABELS = "step page item chapter section volume part line week code".split()
FILLERS = (
    "cat dog tree house river stone garden bread apple window door table chair lamp book paper "
    "road bridge boat train horse bird fish cloud rain wind snow fire field hill lake shore "
    "city town market school tower wall roof floor room bed clock box bag cup plate knife coat "
    "hat shoe ring song story queen king farmer teacher doctor baker sailor child mother father "
    "friend guest saw took found gave made kept left held sold bought moved carried opened "
    "closed painted washed sent liked wanted lost built old new red green blue small large "
    "quiet bright dark warm cold clean heavy light soft hard round sharp sweet the of and to on "
    "there were was for"
).split()
GRAMMAR = (
    "after comes then is number day month letter numeral ends in tens are with same end by"
).split()
SIGNS = [".", ",", ":", ";", ")", "-", " =", " +", " -", " #", "\n"]


def words() -> list[str]:
    """Every token, in the order of its identifier."""
    items = [w for task in (*TASKS, ROMAN_NUMERALS) for form in task.forms for w in form.values()]
    tens = [" " + word for word in TENS_WORDS.values()]
    plain = [" " + word for word in NAMES + LABELS + FILLERS + GRAMMAR]
    return list(dict.fromkeys([END, *items, *tens, *plain, *SIGNS, UNKNOWN]))


def tokenizer() -> PreTrainedTokenizerFast:
    """The word-level tokenizer; `AutoTokenizer` opens the folder that it is saved in."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: identifier for identifier, word in enumerate(words())}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        unk_token=UNKNOWN,
        model_max_length=64,
    )
