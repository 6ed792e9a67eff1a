"""Words without order, for what a head does to tokens that are not ordinal."""

import re

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lm.ordinals import OrdinalTokens, Tokenizer, single_tokens

WORD = re.compile("[Ġ▁ ][a-z]{3,}")
"""A lower-case word with the space before it, as vocabularies spell it."""
NUMERAL = re.compile(
    " (?:(?:thir|four|fif|six|seven|eigh|nine)teen(?:th)?"
    "|(?:twen|thir|for|fif|six|seven|eigh|nine)(?:ty|tieth|ties)"
    "|zero|eleven(?:th)?|twel(?:ve|fth)|hundred(?:th)?s?|thousand(?:th)?s?|[bm]illion(?:th)?s?)"
)
"""Ordinal words that the tasks may lack."""


def other_words(
    tokenizer: Tokenizer, tokens: OrdinalTokens, *, count: int = 200, seed: int = 0
) -> Int[Tensor, " words"]:
    """A sample of the vocabulary's lower-case words that belong to no ordinal task.

    Args:
        tokenizer: whose vocabulary is drawn from; words are single tokens after a space.
        tokens: whose elements are left out, in every spelling, as numerals are.
        count: of the words; fewer come back where there are fewer.
        seed: of the draw.

    Returns:
        Token ids.
    """
    ordinal = set(tokens.table["text"].str.strip().str.lower())
    texts = sorted(" " + piece[1:] for piece in tokenizer.get_vocab() if WORD.fullmatch(piece))
    texts = [t for t in texts if t[1:] not in ordinal and not NUMERAL.fullmatch(t)]
    found = sorted(single_tokens(texts, tokenizer).values())
    drawn = np.random.default_rng(seed).permutation(found)[:count]
    return torch.tensor(np.sort(drawn), dtype=torch.long)
