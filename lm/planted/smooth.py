"""Activations without any feature: smooth in the number, and nothing else."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lm.ordinals import OrdinalTokens
from lm.planted.vocabulary import vocabulary

WAVES = 64
"""Random Fourier features a function is the sum of (Rahimi and Recht 2007)."""
SPELLINGS = 0.9
"""Correlation between the spellings of a number or word."""


def smooth_activations(
    d_model: int = 128, numbers: int = 299, *, seed: int = 0
) -> tuple[OrdinalTokens, Float[Tensor, "tokens d_model"]]:
    """Random activations, of variance one, in which no residue of any modulus below 20 is planted.

    Each coordinate is a random smooth function of the number: near enough a Gaussian process with
    a length scale of its own, from a tenth of the range to the range. Spellings share most of it.
    Words, which have no order here, are random, with spellings that correlate alike.

    Args:
        d_model: coordinates.
        numbers: last number.
        seed: of everything.

    Example:
        >>> tokens, m = smooth_activations(seed=1)
    """
    generator = torch.Generator().manual_seed(seed)
    everything = vocabulary(numbers)
    forms = list(dict.fromkeys(form for _, form, _ in everything.tasks["numbers"].spellings()))
    m = torch.zeros(len(everything.words), d_model)
    shared = _functions(1 + len(forms), numbers, d_model, generator)
    words: dict[tuple[str, int], Tensor] = {}
    for token, (task, index, form) in everything.places.items():
        if task == "numbers":
            common, own = shared[0, index], shared[1 + forms.index(form), index]
        else:
            own = torch.randn(d_model, generator=generator)
            common = words.setdefault((task, index), torch.randn(d_model, generator=generator))
        m[token] = math.sqrt(SPELLINGS) * common + math.sqrt(1 - SPELLINGS) * own
    tokens = everything.tokens
    return tokens, m[torch.tensor(tokens.table["token_id"].to_numpy())]


def _functions(
    copies: int, last: int, d_model: int, generator: torch.Generator
) -> Float[Tensor, "copies numbers d_model"]:
    """Independent functions of the numbers; copies of a coordinate are equally smooth."""
    place = torch.linspace(0, 1, last + 1)
    length = 10 ** -torch.rand(d_model, generator=generator)
    waves = torch.randn(copies, d_model, WAVES, generator=generator) / length[:, None]
    phases = 2 * math.pi * torch.rand(copies, d_model, WAVES, generator=generator)
    angles = waves[:, None] * place[:, None, None] + phases[:, None]
    return math.sqrt(2 / WAVES) * angles.cos().sum(-1)
