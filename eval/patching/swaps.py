"""The swap of index parts: one for each fold, with P_N fitted on the others."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from eval.patching.operators import Swap
from features.directions import ResidueDirections
from features.structure.projections import fit_projections
from lm.ordinals import FOLDS
from training.activations import Activations


def index_swaps(activations: Activations, modulus: int, *, seed: int = 0) -> list[Swap]:
    """Swaps of the index part, for each fold of held-out tokens.

    Args:
        activations: M(t).
        modulus: of the edits that they are compared in.
        seed: of the donors.
    """
    table = activations.tokens.table
    index = table["index"].to_numpy()
    domain = table.groupby(["task", "form"]).ngroup().to_numpy()
    pair = table.groupby(["task", "index"]).ngroup().to_numpy()
    donors = _donors(activations, seed)
    out = []
    for fold in range(FOLDS):
        held_out = activations.held_out(fold)
        fitted = ~held_out & ~table["held_out_task"].to_numpy()
        x = activations.x.numpy()[fitted].astype(float)
        fit = fit_projections(x, index[fitted], domain[fitted], pair[fitted])
        nothing = torch.empty(modulus, 0)
        directions = ResidueDirections("projections", fold, nothing, torch.tensor(held_out))
        out.append(Swap(directions, activations, torch.tensor(fit.index).float(), donors))
    return out


def random_swap(swap: Swap, *, seed: int = 0) -> Swap:
    """The same exchange in a random subspace of the same rank."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(swap.project), swap.rank, generator=generator)
    basis, _ = torch.linalg.qr(noise)
    directions = replace(swap.directions, source="random subspace")
    return Swap(directions, swap.activations, basis @ basis.T, swap.donors)


def _donors(activations: Activations, seed: int) -> Int[Tensor, " tokens"]:
    """For each token, one of its index in another task, or at least in another spelling."""
    rng = np.random.default_rng(seed)
    table = activations.tokens.table
    index, token = table["index"].to_numpy(), table["token_id"].to_numpy()
    task = table["task"].to_numpy()
    may_give = ~table["held_out_task"].to_numpy()
    out = np.full(len(table), -1)
    for row in range(len(table)):
        same = np.flatnonzero((index == index[row]) & (token != token[row]) & may_give)
        elsewhere = same[task[same] != task[row]]
        if len(same):
            out[row] = rng.choice(elsewhere if len(elsewhere) else same)
    return torch.tensor(out)
