"""The documents that count: each asks what comes after an item."""

from __future__ import annotations

from random import Random

from lm.counting.vocabulary import LABELS
from lm.counting.writing import Asked, Document, counted, draw_task, fillers, inline, plain


def line_list(rng: Random) -> Document:
    """12. lake old / 13. hill / 14."""
    items = counted(rng, draw_task(rng), rng.randint(3, 6), spaced=False)
    sign = rng.choice(".,:;)")
    tokens: Document = []
    for position, item in enumerate(items):
        tokens += ["\n", Asked(item) if position else item, sign, *fillers(rng, 1, 4)]
    return tokens


def counters(rng: Random) -> Document:
    """step 12 lake page 45 old step 13 hill page 46"""
    labels = rng.sample(LABELS, rng.randint(1, 3))
    queues = [(label, counted(rng, draw_task(rng), rng.randint(2, 5), None)) for label in labels]
    seen: set[str] = set()
    tokens: Document = []
    while queues := [queue for queue in queues if queue[1]]:
        label, items = rng.choice(queues)
        tokens += [" " + label, *inline(items.pop(0), asked=label in seen), *fillers(rng, 0, 3)]
        seen.add(label)
    return tokens


def run(rng: Random) -> Document:
    """12, 13, 14, 15"""
    items = counted(rng, draw_task(rng), rng.randint(3, 8), None)
    spaced = items[0].startswith(" ")
    tokens = [items[0]]
    for item in items[1:]:
        tokens += ["," if spaced else "-", Asked(item)]
    return tokens


def after(rng: Random) -> Document:
    """after March comes April"""
    items = counted(rng, draw_task(rng), 2, None)
    if len(items) < 2:
        return after(rng)
    return [" after", *inline(items[0]), " comes", *inline(items[1], asked=True)]


def then(rng: Random) -> Document:
    """lake 12 old hill then 13 river then 14"""
    tokens = plain(rng, 0, 5)
    for position, item in enumerate(counted(rng, draw_task(rng), rng.randint(2, 4), None)):
        tokens += [" then"] * (position > 0) + inline(item, asked=position > 0) + plain(rng, 0, 4)
    return tokens
