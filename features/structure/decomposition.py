"""Does M(t) split into an index part and a domain part? (section 3, index and domain)

A token is an element of an index i (the 3 of `third`) in a domain d (`ordinal_words` in one
spelling); `projections.py` fits maps P_N and P_D to its two parts. A token that was not fitted,
(i, d), is put together from two that were: P_N M(i, d') + P_D M(j, d), with d' of another task and
j another index. It decodes if, of all tokens, it is nearest

- `parts`: in its own two parts, |P_N M(t) - P_N M(i, d')|^2 + |P_D M(t) - P_D M(j, d)|^2, which
  asks whether the projections tell tokens apart; or
- `sum`: in M itself, by cosine about mu, which asks besides that nothing else tells them apart.

Only indices that occur in two tasks or more are used. Tasks that are never fitted (Roman numerals)
give the index part to a number of their index, and are decoded among those numbers.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from features.statistics import clopper_pearson, shuffled_within_tasks
from features.structure.class_means import in_span
from features.structure.projections import fit_projections
from lm.ordinals import FOLDS
from training.activations import Activations

DECODERS = ("parts", "sum")
RECIPIENT = "numbers"
"""The task whose domain those that were never fitted are decoded in."""


def index_and_domain(activations: Activations, *, seed: int = 0) -> pd.DataFrame:
    """Every (index, task) pair decoded once by projections that were fitted without it.

    The control permutes the indices within each task, spellings together, before anything else.

    Returns:
        One row per decoder and task, all fitted tasks together first: `decoder`; `task`;
        `accuracy`, the share of sources and donors with which a pair decodes (its spellings
        together), with `low` and `high`, the exact 95% interval with one trial a pair; `permuted`,
        the control; `chance`, one over the candidates of the right domain; `n_pairs`;
        `held_out_task`, true where the task was never fitted.
    """
    design = _design(activations)
    true, moved = _decoded(design, seed), _decoded(_permuted(design, seed), seed)
    rows = []
    for decoder in DECODERS:
        table = design.table.assign(accuracy=true[decoder], permuted=moved[decoder])
        pairs = (
            table.dropna(subset="accuracy")
            .groupby(["task", "index"], sort=False)
            .mean(numeric_only=True)
        )
        untouched = pairs["held_out_task"] > 0
        groups = {"all": pairs[~untouched]}
        groups |= {str(task): part for task, part in pairs.groupby(level="task", sort=False)}
        rows += [_row(decoder, task, part) for task, part in groups.items() if len(part)]
    return pd.DataFrame(rows)


class _Design(NamedTuple):
    table: pd.DataFrame
    x: Float[np.ndarray, "tokens d_model"]
    index: Int[np.ndarray, " tokens"]
    task: np.ndarray
    domain: Int[np.ndarray, " tokens"]
    pair: Int[np.ndarray, " tokens"]
    token: Int[np.ndarray, " tokens"]
    fitted: Bool[np.ndarray, " tokens"]


def _design(activations: Activations) -> _Design:
    table = activations.tokens.table
    tasks = table[~table["held_out_task"]].groupby("index")["task"].nunique()
    rows = table["index"].isin(tasks.index[tasks > 1]).to_numpy()
    part = table[rows].reset_index(drop=True)
    size = part.groupby(["task", "form"])["index"].transform("nunique")
    recipients = part.loc[part["task"] == RECIPIENT, "index"].nunique()
    part["chance"] = 1 / size.where(~part["held_out_task"], recipients)
    return _Design(
        part,
        in_span(activations.x.numpy()[rows].astype(float)),
        part["index"].to_numpy(),
        part["task"].to_numpy(),
        part.groupby(["task", "form"]).ngroup().to_numpy(),
        part.groupby(["task", "index"]).ngroup().to_numpy(),
        part["token_id"].to_numpy(),
        ~part["held_out_task"].to_numpy(),
    )


def _permuted(design: _Design, seed: int) -> _Design:
    rng = np.random.default_rng(seed)
    return design._replace(index=shuffled_within_tasks(design.index, design.task, rng))


def _decoded(design: _Design, seed: int) -> dict[str, Float[np.ndarray, " tokens"]]:
    """How often each token decodes, over its sources and donors; NaN where it has none."""
    out = {decoder: np.full(len(design.x), np.nan) for decoder in DECODERS}
    index, task, domain, fitted = design.index, design.task, design.domain, design.fitted
    folds = np.random.default_rng(seed).permutation(design.pair.max() + 1)[design.pair] % FOLDS
    for fold in range(FOLDS):
        test = fitted & (folds == fold)
        train = fitted & ~np.isin(design.token, design.token[test])
        scores = _scores(design, train)
        for t in np.flatnonzero(test):
            sources = train & (index == index[t]) & (task != task[t])
            donors = train & (domain == domain[t]) & (index != index[t])
            for decoder, score in scores.items():
                out[decoder][t] = _share(design, score, sources, donors, t, fitted)
    number = fitted & (task == RECIPIENT)
    scores = _scores(design, fitted)
    for t in np.flatnonzero(~fitted):
        source = np.arange(len(index)) == t
        targets = np.flatnonzero(number & (index == index[t]))
        for decoder, score in scores.items():
            shares = [
                _share(design, score, source, number & (domain == domain[u]) & (index != index[u]),
                       u, number)
                for u in targets
            ]  # fmt: skip
            out[decoder][t] = np.mean(shares) if shares else np.nan
    return out


def _scores(design: _Design, train: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each decoder, how near every token's index part, and domain part, is to each token."""
    fit = fit_projections(*(v[train] for v in (design.x, design.index, design.domain, design.pair)))
    m = design.x - fit.mean
    parts = m @ fit.index, m @ fit.domain
    unit = m / np.linalg.norm(m, axis=1, keepdims=True)
    near, along = [2 * p @ p.T - (p**2).sum(1) for p in parts], [p @ unit.T for p in parts]
    return {"parts": (near[0], near[1]), "sum": (along[0], along[1])}


def _share(
    design: _Design,
    score: tuple[np.ndarray, np.ndarray],
    sources: np.ndarray,
    donors: np.ndarray,
    target: np.integer,
    candidates: np.ndarray,
) -> float:
    """Share of the sources and donors whose sum is nearest to the target.

    A token of two tasks (May) is right under either name.
    """
    if not sources.any() or not donors.any():
        return np.nan
    both = score[0][np.ix_(sources, candidates)][:, None] + score[1][np.ix_(donors, candidates)]
    found = design.token[candidates][both.argmax(-1)]
    return float((found == design.token[target]).mean())


def _row(decoder: str, task: str, pairs: pd.DataFrame) -> dict[str, object]:
    (low,), (high,) = clopper_pearson(np.array([pairs["accuracy"].mean()]), np.array([len(pairs)]))
    return {
        "decoder": decoder,
        "task": task,
        "accuracy": pairs["accuracy"].mean(),
        "low": low,
        "high": high,
        "permuted": pairs["permuted"].mean(),
        "chance": pairs["chance"].mean(),
        "n_pairs": len(pairs),
        "held_out_task": bool((pairs["held_out_task"] > 0).all()),
    }
