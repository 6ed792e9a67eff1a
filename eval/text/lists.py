"""Numbered lists: is the successor head the one that matters most for the next number? (section 4)

In the paper it is, on 64 of 64 prompts.
"""

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool
from tokenizers import Tokenizer
from torch import Tensor

from eval.text.contexts import leading
from eval.text.effects import Head, Means, ablation_effects
from lm.counting.vocabulary import FILLERS

if TYPE_CHECKING:
    from lm.bridged import BridgedModel

PROMPTS = 64
LARGEST_START = 50
ITEMS = (2, 4)
"""Fewest and most items before the number that is asked for."""


def list_wins(
    model: "BridgedModel", means: Means, heads: Sequence[Head], *, seed: int = 0
) -> dict[Head, Bool[Tensor, " prompts"]]:
    """At which prompts each head wins the last number.

    Args:
        model: with its bridge.
        means: of every head's z in text, which ablation puts in its place.
        heads: compared with every head of the model.
        seed: of the prompts.

    Returns:
        No prompt where numbers after a line break are not single tokens, or the model reads too
        few tokens.
    """
    prompts = numbered_lists(model.tokenizer, seed=seed)
    prompts = [ids for ids in prompts if len(ids) <= model.info.n_ctx]
    if not prompts:
        return {head: torch.zeros(0, dtype=torch.bool) for head in heads}
    last = torch.tensor([len(ids) - 2 for ids in prompts])
    # What stands after a position does not change it, so shorter prompts may be filled up.
    ids = torch.zeros(len(prompts), int(last.max()) + 2, dtype=torch.long)
    for row, prompt in zip(ids, prompts, strict=True):
        row[: len(prompt)] = torch.tensor(prompt)
    effects = ablation_effects(model, ids, means, heads)
    rows = torch.arange(len(prompts))
    return {head: effects.heads[head].wins[rows, last] for head in heads}


def numbered_lists(tokenizer: Tokenizer, *, seed: int = 0) -> list[list[int]]:
    """Lists of words, a number before each, that end with the next number: `3. lake old / 4.
    hill / 5`. Those whose last number is not one token are left out."""
    rng = Random(f"lists {seed}")
    start, prompts = leading(tokenizer), []
    for _ in range(PROMPTS):
        first, items = rng.randint(1, LARGEST_START), rng.randint(*ITEMS)
        lines = [
            f"\n{first + i}. {' '.join(rng.sample(FILLERS, rng.randint(1, 3)))}"
            for i in range(items)
        ]
        answer = str(first + items)
        ids = tokenizer.encode("".join(lines) + "\n" + answer, add_special_tokens=False).ids
        if tokenizer.decode(ids[-1:]).strip() == answer:
            prompts.append(start + ids)
    return prompts
