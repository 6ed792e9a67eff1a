"""What is left of succession when the head reads an SAE's reconstructions in place of M(t)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eval.patching.readout import Readout
from features.statistics import bootstrap_means, clusters
from sae.ensemble import SAEEnsemble
from training.activations import Activations

READS = ("reconstruction", "M(t)", "shifted M(t)")
"""What the head reads; the last two are controls. M(t) is shifted by as much as the SAE is off on
that token, along the difference of two random tokens of its task and spelling: where M(t) varies,
and towards what the head must tell apart. A direction drawn from all of d_model would hardly touch
what the head reads."""
DRAWS = 5
"""Shifts of a token."""


class Preserved(NamedTuple):
    """Successor scores (mean over tasks) over some tokens; each token counts once."""

    preserved: float
    """Reading reconstructions."""
    preserved_low: float
    preserved_high: float
    """95% interval, over (task, index) clusters."""
    preserved_standard_error: float
    """The bootstrap's, over the same clusters."""
    control_m: float
    """Reading M(t) itself."""
    control_shifted: float
    """Reading M(t) shifted at random, by as much as the SAE is off."""
    n_tokens: int


def token_rows(
    activations: Activations, folds: Sequence[int]
) -> tuple[Bool[np.ndarray, "members tokens"], Bool[np.ndarray, "members tokens"]]:
    """For members that hold out these folds: the tokens they were fitted on, and held out.

    All rows of a token go together; tokens of tasks that are never fitted are in neither.
    """
    token = activations.tokens.table["token_id"].to_numpy()
    fitted = [np.isin(token, token[activations.fit_rows(fold)]) for fold in folds]
    held_out = [np.isin(token, token[activations.test_rows(fold)]) for fold in folds]
    return np.stack(fitted), np.stack(held_out)


def read_reconstructions(
    ensemble: SAEEnsemble, activations: Activations, readouts: Sequence[Readout], *, seed: int = 0
) -> Float[np.ndarray, "members reads tokens"]:
    """How often the head writes each token's successor, by member and `READS`.

    Args:
        readouts: of the chosen head.
        seed: of the shifts; the same for the same member of another ensemble.

    Returns:
        0 or 1, or a share of the shifts; NaN where a token has no successor.
    """
    m = activations.x
    success = np.full((len(ensemble), len(READS), len(m)), np.nan)
    for member, sae in enumerate(ensemble.members):
        restored = sae.decode(sae.encode(m))
        error = (restored - m).norm(dim=1, keepdim=True)
        generator = torch.Generator().manual_seed(seed + member)
        for readout in readouts:
            rows = readout.rows[readout.sources]
            shift = error[rows] * _differences(m[readout.rows], len(rows), generator)
            for read, x in enumerate((restored[rows], m[rows], m[rows] + shift)):
                success[member, read, rows] = _successes(readout, x)
    return success


def _differences(
    m: Float[Tensor, "elements d_model"], count: int, generator: torch.Generator
) -> Float[Tensor, "draws count d_model"]:
    """Unit vectors from one element to another one, both drawn at random."""
    start = torch.randint(len(m), (DRAWS, count), generator=generator)
    step = torch.randint(1, len(m), start.shape, generator=generator)
    return torch.nn.functional.normalize(m[(start + step) % len(m)] - m[start], dim=-1)


def _successes(readout: Readout, x: Float[Tensor, "... sources d_model"]) -> np.ndarray:
    """Share of the leading dimensions in which each source gives its successor."""
    success = readout.succeeds(x, readout.sources)
    return success.reshape(-1, success.shape[-1]).mean(0)


def preserved(
    success: Float[np.ndarray, "members reads tokens"],
    rows: Bool[np.ndarray, "members tokens"],
    table: pd.DataFrame,
    *,
    seed: int = 0,
) -> Preserved:
    """The scores over some tokens of each member.

    A token that several members have counts as the share of them that give its successor, so that
    no token weighs more because more members held it out.

    Args:
        success: what `read_reconstructions` gives, or some of its members.
        rows: the tokens that count, by member; those without a successor never do.
        table: of the tokens: `task`, `index`.
        seed: of the bootstrap.
    """
    counts = rows[:, None] & ~np.isnan(success)
    times = counts.sum(0)
    keep = times[0] > 0
    if not keep.any():
        nothing = float("nan")
        return Preserved(nothing, nothing, nothing, nothing, nothing, nothing, n_tokens=0)
    shares = np.where(counts, success, 0).sum(0)[:, keep] / times[:, keep]
    part = table.loc[keep]
    result = bootstrap_means(shares, clusters(part), part["task"].to_numpy(), seed=seed)
    low, high = result.interval()[:, 0]
    score, m, shifted = result.estimate.tolist()
    error = float(result.draws[:, 0].std(ddof=1))
    return Preserved(score, float(low), float(high), error, m, shifted, result.n_rows)
