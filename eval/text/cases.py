"""The positions that one head wins or loses, in words: what it reads there, and what follows."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from tokenizers import Tokenizer

from eval.text.classify import CLASSES, Following, Reading, classify, following, read
from eval.text.effects import Effects, HeadEffects

EXCERPT = 12
"""Tokens before the next one."""
Texts = Sequence[Sequence[str]]
"""Of the tokens of each context, as they stand in the text."""


def token_texts(tokenizer: Tokenizer, ids: Int[torch.Tensor, "contexts length"]) -> list[list[str]]:
    """Each token as it stands in the text, with its space."""
    texts = {}
    for token in ids.unique().tolist():
        piece = tokenizer.id_to_token(token) or ""
        spaced = "▁" in piece  # decoding would take the space off
        texts[token] = (
            piece.replace("▁", " ")
            if spaced
            else tokenizer.decode([token], skip_special_tokens=False)
        )
    return [[texts[token] for token in row] for row in ids.tolist()]


class Cases(NamedTuple):
    """Some positions of one head, in the order of the text."""

    context: Int[np.ndarray, " cases"]
    position: Int[np.ndarray, " cases"]
    change: Float[np.ndarray, " cases"]
    readings: list[Reading]
    followings: list[Following]

    @classmethod
    def of(
        cls,
        texts: Texts,
        own: HeadEffects,
        where: Bool[np.ndarray, "contexts predictions"],
    ) -> "Cases":
        context, position = np.nonzero(where)
        places = zip(context.tolist(), position.tolist(), strict=True)
        readings, followings = [], []
        for row, at in places:
            readings.append(_reading(texts[row], own, row, at))
            followings.append(following(texts[row], at))
        return cls(context, position, own.change.numpy()[where], readings, followings)

    def classes(self, order: Iterable[int]) -> Int[np.ndarray, " cases"]:
        """The class of each, as its place in `CLASSES`, with the next tokens in this order."""
        pairs = zip(self.readings, order, strict=True)
        names = [classify(reading, self.followings[i]) for reading, i in pairs]
        return np.array([CLASSES.index(name) for name in names], dtype=int)

    def rows(self, texts: Texts, effects: Effects, own: HeadEffects) -> list[dict[str, Any]]:
        """One row for each case."""
        kinds = self.classes(range(len(self.readings)))
        rows = []
        for case, change in enumerate(self.change.tolist()):
            row, at = int(self.context[case]), int(self.position[case])
            pieces, source = texts[row], int(own.attended[row, at, 0])
            weights = zip(
                self.readings[case].attended, own.attention[row, at].tolist(), strict=False
            )
            before = "".join(pieces[max(0, at + 1 - EXCERPT) : at + 1])
            rows.append(
                {
                    "context": row,
                    "position": at,
                    "class": CLASSES[kinds[case]],
                    "loss_change": change,
                    "loss": float(effects.loss[row, at]),
                    "source_position": source,
                    "source": pieces[source],
                    "attention": float(own.attention[row, at, 0]),
                    "attended": ", ".join(f"{a.token} {weight:.2f}" for a, weight in weights),
                    "current": pieces[at],
                    "next": pieces[at + 1],
                    "excerpt": f"{before}«{pieces[at + 1]}»",
                }
            )
        return rows


def where_succession(texts: Texts, own: HeadEffects) -> Bool[np.ndarray, "contexts predictions"]:
    """All positions at which the next token is the successor of one that the head attends to."""
    found = np.zeros(own.change.shape, dtype=bool)
    for row, pieces in enumerate(texts):
        for at in range(found.shape[1]):
            reading = _reading(pieces, own, row, at)
            found[row, at] = classify(reading, following(pieces, at)) == "succession"
    return found


def _reading(pieces: Sequence[str], own: HeadEffects, row: int, at: int) -> Reading:
    attended, weights = own.attended[row, at].tolist(), own.attention[row, at].tolist()
    attention = [pair for pair in zip(attended, weights, strict=True) if pair[0] <= at]
    return read(pieces[: at + 1], attention)
