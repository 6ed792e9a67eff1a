"""The corpus of the embedded model: short documents that are generated, never downloaded.

A document is a list of tokens. The tokens that a reader could predict from what stands before
them are `Asked`; training puts its loss there. There are two lessons, each with the shares of its
kinds of document: `FACTS` say what an item is, `COUNTING` says what comes after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

from lm.counting import counts, facts
from lm.counting.vocabulary import END
from lm.counting.writing import Document


class Kind(NamedTuple):
    """One kind of document and its share among the documents of its lesson."""

    write: Callable[[Random], Document]
    share: float
    decimal: bool = False
    """Speaks of digits, or of numbers as tens and units; the twin is trained without these."""


COUNTING = (
    Kind(counts.line_list, 0.25),
    Kind(counts.counters, 0.25),
    Kind(counts.run, 0.08),
    Kind(counts.after, 0.12),
    Kind(counts.then, 0.30),
)
FACTS = (
    Kind(facts.across, 0.17),
    Kind(facts.held, 0.09),
    Kind(facts.copy, 0.02),
    Kind(facts.filler, 0.02),
    Kind(facts.tens_words, 0.03, decimal=True),
    Kind(facts.decimal, 0.18, decimal=True),
    Kind(facts.digits, 0.17, decimal=True),
    Kind(facts.recombination, 0.23, decimal=True),
    Kind(facts.same, 0.04, decimal=True),
    Kind(facts.by_ten, 0.05, decimal=True),
)


def documents(rng: Random, kinds: tuple[Kind, ...], twin: bool = False) -> Iterator[Document]:
    """Documents of one lesson without end."""
    kinds = tuple(kind for kind in kinds if not (twin and kind.decimal))
    shares = [kind.share for kind in kinds]
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
