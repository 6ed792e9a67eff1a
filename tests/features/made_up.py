"""Activations of the ordinal tasks, made up from a function of the element."""

from collections.abc import Callable

import numpy as np
import torch

from lm.ordinals import OrdinalTokens, load_tasks, ordinal_tokens
from tests.checkpoints import byte_level_tokenizer
from training.activations import Activations

D_MODEL = 48


def tokens(*tasks: str) -> OrdinalTokens:
    """The tasks' tokens, numbers from 0 to 60."""
    found = ordinal_tokens(byte_level_tokenizer(), load_tasks(numbers=(0, 60)))
    return found.select(found.table["task"].isin(tasks).to_numpy())


def made_up(
    found: OrdinalTokens, m: Callable[[str, int], np.ndarray], noise: float = 0.0, seed: int = 1
) -> Activations:
    """M(t) = m(task, index), the same in all spellings, and noise of each token's own."""
    rng = np.random.default_rng(seed)
    rows = zip(found.table["task"], found.table["index"], strict=True)
    x = np.stack([m(task, index) for task, index in rows])
    return Activations(torch.tensor(x + noise * rng.standard_normal(x.shape)).float(), found)


def directions(count: int, seed: int = 0) -> np.ndarray:
    """Orthonormal rows."""
    rng = np.random.default_rng(seed)
    return np.linalg.qr(rng.standard_normal((D_MODEL, count)))[0].T
