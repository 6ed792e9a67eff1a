"""Activations whose structure is known."""

import torch
from datasets import Dataset

from lm.ordinals import COLUMNS, OrdinalTokens, assign_folds
from training.activations import Activations


def numbers(x: torch.Tensor) -> Activations:
    """Activations of as many made-up number tokens."""
    folds = assign_folds(range(len(x)), 0)
    rows = [
        {"token_id": i, "text": f" {i}", "task": "numbers", "index": i, "form": "space",
         "successor": i + 1, "fold": folds[i], "held_out_task": False}
        for i in range(len(x))
    ]  # fmt: skip
    return Activations(x, OrdinalTokens(Dataset.from_list(rows, features=COLUMNS)))


def planted(rows: int, d_model: int, features: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sparse non-negative sums of known unit directions, off the origin."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(features, d_model, generator=generator))
    on = torch.rand(rows, features, generator=generator) < 3 / features
    codes = on * (0.5 + torch.rand(rows, features, generator=generator))
    return codes @ directions + torch.randn(d_model, generator=generator), directions
