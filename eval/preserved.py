"""What is left of succession when the head reads an SAE's reconstructions in place of M(t)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eval.readout import Readout
from features.statistics import bootstrap_means, clusters
from sae.ensemble import SAEEnsemble
from training.activations import Activations

READS = ("reconstruction", "M(t)", "random error")
"""What the head reads; the last two are controls. A random error is as long as the SAE's own on
that token, and points anywhere: it tells whether what the SAE loses matters more than chance."""
DRAWS = 5
"""Random errors a token."""


class Preserved(NamedTuple):
    """Successor scores (mean over tasks) over some tokens; each token counts once."""

    preserved: float
    """Reading reconstructions."""
    preserved_low: float
    preserved_high: float
    """95% interval, over (task, index) clusters."""
    standard_error: float
    """The bootstrap's, over the same clusters."""
    m: float
    """Control: reading M(t) itself."""
    random: float
    """Control: reading M(t) with a random error."""
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
        seed: of the random errors; the same for the same member of another ensemble.

    Returns:
        0 or 1, or a share of the random errors; NaN where a token has no successor.
    """
    m = activations.x
    success = np.full((len(ensemble), len(READS), len(m)), np.nan)
    for member, sae in enumerate(ensemble.members):
        restored = sae.decode(sae.encode(m))
        generator = torch.Generator().manual_seed(seed + member)
        error = torch.randn(DRAWS, *m.shape, generator=generator)
        error *= (restored - m).norm(dim=1, keepdim=True) / error.norm(dim=-1, keepdim=True)
        for readout in readouts:
            rows = readout.rows[readout.sources]
            for read, x in enumerate((restored[rows], m[rows], m[rows] + error[:, rows])):
                success[member, read, rows] = _successes(readout, x)
    return success


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
    score, m, random = result.estimate.tolist()
    error = float(result.draws[:, 0].std(ddof=1))
    return Preserved(score, float(low), float(high), error, m, random, result.n_rows)
