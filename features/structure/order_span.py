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
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata

from features.order import ordered_tasks, permuted_targets, standardised_index
from features.statistics import bootstrap_means, clusters
from features.structure.class_means import group_means
from sae.ensemble import SAEEnsemble
from training.activations import Activations

SIZES = (1, 2, 4, 8)
"""Directions in the span."""
KINDS = ("indices", "task")
CONTROLS = 20
"""Random dictionaries, and permutations of the index, for each fold."""


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
    chosen, vectors = _greedy(x.T @ x, (x.T @ target)[None], dictionary[None], sizes)
    return [
        SpanDirection(tuple(map(int, chosen[0, :size])), vector[0])
        for size, vector in zip(sizes, vectors, strict=True)
    ]


def _greedy(
    covariance: Float[np.ndarray, "d_model d_model"],
    with_target: Float[np.ndarray, "problems d_model"],
    dictionaries: Float[np.ndarray, "problems latents d_model"],
    sizes: tuple[int, ...],
) -> tuple[Int[np.ndarray, "problems chosen"], Float[np.ndarray, "sizes problems d_model"]]:
    """Orthogonal least squares of many problems side by side, on products instead of tokens.

    Args:
        covariance: `x.T @ x`.
        with_target: `x.T @ target`, of each problem.
        dictionaries: one a problem, or one for all.
        sizes: ascending.
    """
    problems = np.arange(max(len(with_target), len(dictionaries)))
    latents = dictionaries.shape[1]
    gram = (dictionaries @ covariance) @ dictionaries.swapaxes(1, 2)
    gram = np.broadcast_to(gram, (len(problems), latents, latents))
    goes = np.broadcast_to((dictionaries @ with_target[:, :, None])[..., 0], gram.shape[:2])
    length = np.diagonal(gram, axis1=1, axis2=2).copy()
    floor = np.maximum(1e-9 * length.max(1, keepdims=True), np.finfo(float).tiny)
    rest, axes = goes.copy(), np.zeros((len(problems), 0, latents))
    chosen = np.zeros((len(problems), 0), dtype=int)
    for _ in range(min(max(sizes), latents)):
        gain = np.where(length > floor, rest**2 / np.maximum(length, floor), -1)
        best = gain.argmax(1)
        norm = np.sqrt(np.maximum(length[problems, best], floor[:, 0]))[:, None]
        before = np.einsum("pk,pkl->pl", axes[problems, :, best], axes)
        axis = (gram[problems, best] - before) / norm
        rest = rest - axis * rest[problems, best][:, None] / norm
        length = length - axis**2
        axes = np.concatenate([axes, axis[:, None]], 1)
        chosen = np.concatenate([chosen, best[:, None]], 1)
    vectors = []
    for size in sizes:
        some = chosen[:, :size]
        inner = gram[problems[:, None, None], some[:, :, None], some[:, None, :]]
        weights = (
            np.linalg.pinv(inner, 1e-12, hermitian=True) @ goes[problems[:, None], some][..., None]
        )
        rows = np.broadcast_to(dictionaries, (len(problems), *dictionaries.shape[1:]))
        vectors.append((weights * rows[problems[:, None], some]).sum(1))
    return chosen, np.stack(vectors)


def ordinal_span(ensemble: SAEEnsemble, activations: Activations, *, seed: int = 0) -> pd.DataFrame:
    """How much of the index one latent, or the span of a few, explains in tokens left out.

    The members' predictions are pooled: each member is tested on its own fifth of the indices.
    There are two controls, both put through the same choice: as many random directions (with M's
    own covariance) in place of the dictionary, and the index permuted within each task, spellings
    together. They are drawn for the first member of each fold, so that they spread a little more
    than what all members pool.

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
    fitted: dict[int, list[_Test]] = {}
    for member, fold in zip(ensemble.members, ensemble.held_out_folds, strict=True):
        dictionary = member.W_dec.detach().numpy().astype(float)[None]
        first = fold not in fitted
        if first:
            fitted[fold] = _tests(x, part, ~activations.held_out(fold)[rows])
        tests = fitted[fold]
        own.append(_predicted(x, target[None], dictionary, tests))
        if first:
            others = rng.standard_normal((CONTROLS, dictionary.shape[1], len(x))) @ x
            random.append(_predicted(x, target[None], others, tests))
            moved = permuted_targets(part, CONTROLS, rng).T
            permuted.append(_predicted(x, moved, dictionary, tests))
    cases = {
        name: np.stack(found, 1)
        for name, found in {"own": own, "random": random, "permuted": permuted}.items()
    }
    tasks = {"all": np.ones(len(part), bool)}
    tasks |= {name: (part["task"] == name).to_numpy() for name in part["task"].unique()}
    tested = np.asarray(~np.isnan(cases["own"][0, :, :, -1]).all(0))
    out = []
    for kind in range(len(KINDS)):
        for name, here in tasks.items():
            if (target[here & tested[kind]] != 0).any():
                found = {case: v[:, :, kind][..., here] for case, v in cases.items()}
                out += _rows(found, KINDS[kind], name, clusters(part)[here], seed)
    return pd.DataFrame(out)


class _Test(NamedTuple):
    kind: int
    covariance: Float[np.ndarray, "d_model d_model"]
    """Of the fitted tokens."""
    train: Bool[np.ndarray, " tokens"]
    test: Bool[np.ndarray, " tokens"]


def _tests(x: np.ndarray, part: pd.DataFrame, fitted: np.ndarray) -> list[_Test]:
    """No token is tested twice in one kind of test."""
    splits = [(0, fitted, ~fitted)]
    family = part["task"].str.replace("_prefixes", "s")
    for name in family.unique():
        out = (family == name).to_numpy()
        shared = part["token_id"].isin(part["token_id"][out]).to_numpy()
        splits.append((1, fitted & ~shared, out))
    return [
        _Test(kind, x[train].T @ x[train], train, test)
        for kind, train, test in splits
        if train.any() and test.any()
    ]


def _predicted(
    x: Float[np.ndarray, "tokens d_model"],
    targets: Float[np.ndarray, "problems tokens"],
    dictionaries: Float[np.ndarray, "problems latents d_model"],
    tests: list[_Test],
) -> Float[np.ndarray, "problems kinds sizes+1 tokens"]:
    """Every tested token's prediction at each size, and last its target; NaN where not tested.

    Either one target or one dictionary may serve all problems.
    """
    problems = max(len(targets), len(dictionaries))
    out = np.full((problems, len(KINDS), len(SIZES) + 1, x.shape[0]), np.nan)
    for kind, covariance, train, test in tests:
        _, vectors = _greedy(covariance, targets[:, train] @ x[train], dictionaries, SIZES)
        out[:, kind, :-1, test] = np.einsum("td,spd->tps", x[test], vectors)
        out[:, kind, -1, test] = targets[:, test]
    return out


def _rows(
    cases: dict[str, Float[np.ndarray, "draws members sizes+1 tokens"]],
    kind: str,
    task: str,
    element: Int[np.ndarray, " tokens"],
    seed: int,
) -> list[dict[str, object]]:
    """One row a size."""
    scores = {}
    for case, values in cases.items():
        known = ~np.isnan(values[0, :, -1])
        scores[case] = _scores(values.swapaxes(1, 2)[..., known])
    own = cases["own"][0]
    known = ~np.isnan(own[:, -1])
    *predicted, y = own.swapaxes(0, 1)[:, known]
    error = [(y - p) ** 2 for p in predicted]
    which = np.broadcast_to(element, known.shape)[known]
    drawn = bootstrap_means(np.stack([*error, y**2]), which, seed=seed).draws
    left = drawn[:, :-1] / np.where(drawn[:, [-1]] > 0, drawn[:, [-1]], np.nan)
    low, high = np.nanpercentile(1 - left, [2.5, 97.5], axis=0)
    rows = []
    for at, size in enumerate(SIZES):
        row: dict[str, object] = {"left_out": kind, "task": task, "size": size}
        r2, rho = (score[0, at] for score in scores["own"])
        row |= {"r2": r2, "r2_low": low[at], "r2_high": high[at], "rho": rho}
        for case in ("random", "permuted"):
            for name, score in zip(("r2", "rho"), scores[case], strict=True):
                row[f"{name}_{case}_95"] = np.percentile(score[:, at], 95)
        rows.append(row | {"n": len(np.unique(which))})
    return rows


def _scores(
    values: Float[np.ndarray, "draws sizes+1 rows"],
) -> tuple[Float[np.ndarray, "draws sizes"], Float[np.ndarray, "draws sizes"]]:
    """R2 and Spearman's rho of each size's predictions with the target, which comes last."""
    predicted, y = values[:, :-1], values[:, -1:]
    total = (y**2).sum(-1)
    r2 = 1 - ((y - predicted) ** 2).sum(-1) / np.where(total > 0, total, np.nan)
    ranks = rankdata(values, axis=-1)
    ranks -= ranks.mean(-1, keepdims=True)
    spread = np.sqrt((ranks**2).sum(-1))
    both = spread[:, :-1] * spread[:, -1:]
    goes = (ranks[:, :-1] * ranks[:, -1:]).sum(-1)
    return r2, np.divide(goes, both, out=np.zeros_like(both), where=both > 0)
