"""Ordinal directions among a dictionary: one latent's, or the best in the span of a few.

The index of a token, standardised within its task, is predicted from M(t), centred within its task,
along one direction: a weighted sum of k decoder directions. They are chosen greedily (orthogonal
least squares), each the one that explains most of what those before it left.

Everything is chosen and weighted on tokens that are then left out of the test:

- `indices`: the fifth of the indices that the dictionary never saw, all tasks fitted together;
- `task`: a whole task, with its prefixes (days with day prefixes), which share its words. The
  dictionary has seen its tokens, but no index of it was used.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from features.class_means import group_means
from features.order import ordered_tasks, rank_correlations
from features.statistics import bootstrap_means, clusters
from sae.ensemble import SAEEnsemble
from training.activations import Activations

SIZES = (1, 2, 4, 8)
"""Directions in the span."""
KINDS = ("indices", "task")
CONTROLS = 20
"""Random dictionaries, and permutations of the index, for each member."""


class SpanDirection(NamedTuple):
    """The direction in the span of a few decoder directions that reads the index best."""

    latents: tuple[int, ...]
    """In the order in which they were chosen."""
    vector: Float[np.ndarray, " d_model"]
    """`x @ vector` predicts the standardised index."""


def best_in_span(
    x: Float[np.ndarray, "tokens d_model"],
    target: Float[np.ndarray, " tokens"],
    dictionary: Float[np.ndarray, "latents d_model"],
    sizes: tuple[int, ...] = SIZES,
) -> list[SpanDirection]:
    """The greedy choice at each size, over centred tokens and targets."""
    projections = x @ dictionary.T
    floor = 1e-9 * (projections**2).sum(0).max()
    left, rest = projections.copy(), target
    chosen: list[int] = []
    for _ in range(max(sizes)):
        length = (left**2).sum(0)
        gain = np.where(length > floor, (rest @ left) ** 2 / np.maximum(length, floor), -1)
        best = int(gain.argmax())
        chosen.append(best)
        axis = left[:, best] / np.sqrt(length[best])
        rest = rest - axis * (axis @ rest)
        left -= np.outer(axis, axis @ left)
    out = []
    for size in sizes:
        latents = chosen[:size]
        weights = np.linalg.lstsq(projections[:, latents], target, rcond=None)[0]
        out.append(SpanDirection(tuple(latents), weights @ dictionary[latents]))
    return out


def ordinal_span(ensemble: SAEEnsemble, activations: Activations, *, seed: int = 0) -> pd.DataFrame:
    """How much of the index one latent, or the span of a few, explains in tokens left out.

    The members' predictions are pooled: each member is tested on its own fifth of the indices.
    There are two controls, both put through the same choice: as many random directions (with M's
    own covariance) in place of the dictionary, and the index permuted within each task, spellings
    together.

    Returns:
        One row per kind of test, task (and all together) and size: `left_out` (`indices` or
        `task`); `task`; `size`; `r2`, the share of the index's variance that is predicted, with
        `r2_low` and `r2_high` (95%, over elements); `rho`, the rank correlation with the index;
        `r2_random_95`, `rho_random_95`, `r2_permuted_95` and `rho_permuted_95`, the controls'
        95th percentiles; `n`, the elements.
    """
    table = activations.tokens.table
    rows = table["task"].isin(ordered_tasks(table)).to_numpy()
    part = table[rows].reset_index(drop=True)
    x = activations.x.numpy()[rows].astype(float)
    x -= group_means(x, pd.factorize(part["task"])[0])
    target = standardised_index(part)
    rng = np.random.default_rng(seed)
    own, random, permuted = [], [], []
    for member, fold in zip(ensemble.members, ensemble.held_out_folds, strict=True):
        dictionary = member.W_dec.detach().numpy().astype(float)
        tests = _tests(part, ~activations.held_out(fold)[rows])
        own.append(_predicted(x, target, dictionary, tests))
        for _ in range(CONTROLS):
            others = rng.standard_normal((len(dictionary), len(x))) @ x
            random.append(_predicted(x, target, others, tests))
            moved = standardised_index(part.assign(index=_permuted(part, rng)))
            permuted.append(_predicted(x, moved, dictionary, tests))
    members = len(ensemble)
    cases = {
        "own": np.stack(own)[None],
        "random": _by_draw(random, members),
        "permuted": _by_draw(permuted, members),
    }
    tasks = {"all": np.ones(len(part), bool)}
    tasks |= {name: (part["task"] == name).to_numpy() for name in part["task"].unique()}
    tested = ~np.isnan(cases["own"][0, :, :, -1]).all(0)
    return pd.DataFrame(
        [
            _row(cases, part, kind, size, name, here, seed)
            for kind in range(len(KINDS))
            for name, here in tasks.items()
            if (here & tested[kind]).any()
            for size in range(len(SIZES))
        ]
    )


def standardised_index(table: pd.DataFrame) -> Float[np.ndarray, " tokens"]:
    """The index with mean 0 and variance 1 within each task."""
    index = table.groupby("task")["index"]
    return ((table["index"] - index.transform("mean")) / index.transform("std")).to_numpy()


def _tests(part: pd.DataFrame, fitted: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Kind of test, tokens fitted, tokens tested: no token is tested twice in one kind."""
    family = part["task"].str.replace("_prefixes", "s")
    tests = [(0, fitted, ~fitted)]
    for name in family.unique():
        out = (family == name).to_numpy()
        shared = part["token_id"].isin(part["token_id"][out]).to_numpy()
        tests.append((1, fitted & ~shared, out))
    return tests


def _predicted(
    x: np.ndarray, y: np.ndarray, dictionary: np.ndarray, tests: list
) -> Float[np.ndarray, "kinds sizes+1 tokens"]:
    """Every tested token's prediction at each size, and last its target; NaN where not tested."""
    out = np.full((len(KINDS), len(SIZES) + 1, len(y)), np.nan)
    for kind, train, test in tests:
        for size, found in enumerate(best_in_span(x[train], y[train], dictionary)):
            out[kind, size, test] = x[test] @ found.vector
        out[kind, -1, test] = y[test]
    return out


def _by_draw(predicted: list[np.ndarray], members: int) -> Float[np.ndarray, "draws members ..."]:
    return np.stack(predicted).reshape(members, CONTROLS, *predicted[0].shape).swapaxes(0, 1)


def _permuted(part: pd.DataFrame, rng: np.random.Generator) -> Int[np.ndarray, " tokens"]:
    out = part["index"].to_numpy(copy=True)
    for rows in part.groupby("task").indices.values():
        distinct, element = np.unique(out[rows], return_inverse=True)
        out[rows] = rng.permutation(distinct)[element]
    return out


def _row(
    cases: dict[str, np.ndarray],
    part: pd.DataFrame,
    kind: int,
    size: int,
    task: str,
    here: np.ndarray,
    seed: int,
) -> dict[str, object]:
    known = ~np.isnan(cases["own"][0, :, kind, -1][:, here])
    pooled = {
        case: [
            (draw[:, kind, size][:, here][known], draw[:, kind, -1][:, here][known]) for draw in v
        ]
        for case, v in cases.items()
    }
    ((predicted, y),) = pooled["own"]
    element = np.broadcast_to(clusters(part)[here], known.shape)[known]
    drawn = bootstrap_means(np.stack([(y - predicted) ** 2, y**2]), element, seed=seed).draws
    low, high = np.percentile(1 - drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    row: dict[str, object] = {"left_out": KINDS[kind], "task": task, "size": SIZES[size]}
    row |= {"r2": _r2(predicted, y), "r2_low": low, "r2_high": high, "rho": _rho(predicted, y)}
    for case in ("random", "permuted"):
        for name, score in (("r2", _r2), ("rho", _rho)):
            row[f"{name}_{case}_95"] = np.percentile([score(*pair) for pair in pooled[case]], 95)
    return row | {"n": len(np.unique(element))}


def _r2(predicted: np.ndarray, y: np.ndarray) -> float:
    return float(1 - ((y - predicted) ** 2).sum() / (y**2).sum())


def _rho(predicted: np.ndarray, y: np.ndarray) -> float:
    return float(rank_correlations(predicted[:, None], y)[0])
