"""The greater-than bias (section 3.4): after the successor, greater elements have higher logits.

For one source, the AUC is the share of pairs of a greater and a smaller element, the source and
its successor left out, in which the greater one has the higher logit: 0.5 without a bias, 1 where
every greater element is above every smaller one. It is a mean over pairs of ranks, so the mean of
the ranks over many edits of M(t) has the mean of their AUCs, under any order of the elements.
In the paper the mod-10 features do not carry the bias.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata
from torch import Tensor

from eval.patching.lesions import RANDOM, Lesions
from eval.patching.readout import Readout
from eval.patching.subspaces import remove
from features.order import MIN_INDICES
from features.statistics import bootstrap_means
from lm.access import LanguageModel
from lm.circuit import centred, unembedding
from training.activations import Activations

HEAD, NO_HEAD = "head", "W_E + M(t) without head"
EVERY_TASK, EVERY_CYCLE = "all", "all that go round"


def candidate_ranks(
    logits: Float[np.ndarray, "sources candidates"],
    included: Bool[np.ndarray, "sources candidates"],
) -> Float[np.ndarray, "sources candidates"]:
    """Rank of each included candidate among those included, from 0; ties share their mean."""
    ranks = rankdata(np.where(included, logits, -np.inf), axis=1)
    return np.where(included, ranks - 1 - (~included).sum(1, keepdims=True), 0.0)


def greater_than_auc(
    ranks: Float[np.ndarray, "*readings sources candidates"],
    included: Bool[np.ndarray, "sources candidates"],
    index: Int[np.ndarray, " candidates"],
    source: Int[np.ndarray, " sources"],
) -> Float[np.ndarray, "*readings sources"]:
    """Share of (greater, smaller) pairs in which the greater has the higher rank.

    Args:
        ranks: of `candidate_ranks`, or their mean over edits.
        included: which candidates count: not the source, not its successor.
        index: of each candidate.
        source: index of each source.

    Returns:
        NaN for a source with nothing greater or nothing smaller, or without ranks.
    """
    greater = included & (index > source[:, None])
    above = greater.sum(1)
    pairs = above * (included.sum(1) - above)
    won = np.einsum("...sc,sc->...s", ranks, greater.astype(float)) - above * (above - 1) / 2
    return np.divide(won, pairs, out=np.full(won.shape, np.nan), where=pairs > 0)


@dataclass
class _Reading:
    """Ranks of one way to read one readout, added up over sets and subspaces."""

    total: Float[np.ndarray, "sources candidates"]
    count: Float[np.ndarray, " sources"]

    def mean(self) -> Float[np.ndarray, "sources candidates"]:
        with np.errstate(invalid="ignore"):
            return self.total / self.count[:, None]


def greater_than_table(
    model: LanguageModel,
    activations: Activations,
    readouts: Sequence[Readout],
    sources: Sequence[Sequence[Lesions]] = (),
    *,
    permutations: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """The AUC of every task, read by the head, without it, and with directions removed from M(t).

    Removal is to the task's mean over fitted tokens, and is read on the tokens held out.

    Args:
        model: read without its head, too.
        activations: M(t).
        readouts: of the chosen head; those of tasks with `MIN_INDICES` elements or more are used,
            held-out tasks apart.
        sources: what is removed, for each source of residue directions; the isotropic random
            subspaces are left out here.
        permutations: of the elements of each task, spellings together, for the control.
        seed: of the control and the bootstrap.

    Returns:
        One row per `directions` (empty where nothing is removed), `reading` and `task` (`all` is
        the mean over tasks with an end, `all that go round` over the others): `cyclic`, whether the
        task goes round (its index is the place in the cycle); `auc` with its 95% interval
        `auc_low`, `auc_high`, over elements; `before` and `change`, the head's on the same tokens
        and the difference, with a paired interval `change_low`, `change_high` (NaN for the head);
        `permuted` and `permuted_95`, mean and 95th percentile with the order permuted; `p_value`;
        `chance`; `n_tokens`, `n_elements`.
    """
    held_out_tasks = set(activations.tokens.table.query("held_out_task")["task"])
    kept = [
        _Order(readout, activations.x)
        for readout in readouts
        if len(readout.index) >= MIN_INDICES and readout.task not in held_out_tasks
    ]
    if not kept:
        return pd.DataFrame()
    readings = {("", HEAD): [order.empty() for order in kept]}
    readings["", NO_HEAD] = [order.empty() for order in kept]
    for number, order in enumerate(kept):
        rows = order.readout.rows
        plain = model.embed(order.readout.circuit.candidates) + activations.x[rows]
        readout = unembedding(model, order.readout.circuit.candidates).T
        order.add(readings["", NO_HEAD][number], centred(plain, model) @ readout)
        order.add(readings["", HEAD][number], order.logits)
    for sets in sources:
        _remove_each(readings, kept, sets, activations)
    return _rows(kept, readings, permutations, seed)


class _Order:
    """One readout with the pairs that count in it."""

    def __init__(self, readout: Readout, x: Float[Tensor, "tokens d_model"]) -> None:
        self.readout = readout
        self.logits = readout.circuit.logits(x[readout.rows])
        n = len(readout.index)
        self.included = ~np.eye(n, dtype=bool)
        self.included[readout.sources, readout.successor[readout.sources]] = False
        after = readout.index[readout.successor[readout.sources]]
        self.cyclic = bool((after < readout.index[readout.sources]).any())

    def empty(self) -> _Reading:
        n = len(self.readout.index)
        return _Reading(np.zeros((n, n)), np.zeros(n))

    def add(
        self,
        reading: _Reading,
        logits: Float[Tensor, "sources candidates"],
        at: np.ndarray | slice = slice(None),
    ) -> None:
        reading.total[at] += candidate_ranks(logits.numpy(), self.included[at])
        reading.count[at] += 1


def _remove_each(
    readings: dict[tuple[str, str], list[_Reading]],
    kept: list[_Order],
    sets: Sequence[Lesions],
    activations: Activations,
) -> None:
    task = activations.tokens.table["task"].to_numpy()
    fitted = {order.readout.task: torch.tensor(task == order.readout.task) for order in kept}
    for directions, lesions in sets:
        held_out = directions.held_out
        means = {name: activations.x[rows & ~held_out].mean(0) for name, rows in fitted.items()}
        for lesion in lesions:
            if lesion.removed == RANDOM:
                continue
            key = directions.source, f"{lesion.removed} removed"
            found = readings.setdefault(key, [order.empty() for order in kept])
            for order, reading in zip(kept, found, strict=True):
                readout = order.readout
                at = np.flatnonzero(held_out[readout.rows].numpy())
                if len(at):
                    m = activations.x[readout.rows[at]]
                    edited = remove(m, lesion.basis, means[readout.task])
                    order.add(reading, readout.circuit.logits(edited), at)


def _rows(
    kept: list[_Order],
    readings: dict[tuple[str, str], list[_Reading]],
    permutations: int,
    seed: int,
) -> pd.DataFrame:
    frames: list[pd.DataFrame] = []
    drawn: dict[str, list[np.ndarray]] = {}
    for number, order in enumerate(kept):
        ranks = np.stack([reading[number].mean() for reading in readings.values()])
        index, task, included = order.readout.index, order.readout.task, order.included
        auc = greater_than_auc(ranks, included, index, index)
        frames.append(pd.DataFrame(auc.T).assign(task=task, index=index))
        moved = [
            greater_than_auc(ranks, included, place[index], place[index])
            for place in _permuted(kept, task, permutations, seed)
        ]
        drawn.setdefault(task, []).append(np.stack(moved))
    by_token = pd.concat(frames, ignore_index=True)
    null = {task: _mean_known(np.concatenate(parts, 2)) for task, parts in drawn.items()}
    cyclic = {order.readout.task: order.cyclic for order in kept}
    out = []
    for number, (directions, reading) in enumerate(readings):
        frame = by_token[["task", "index"]].assign(auc=by_token[number], before=by_token[0])
        frame = frame.dropna()
        for task in (EVERY_TASK, EVERY_CYCLE, *cyclic):
            goes_round = cyclic.get(task, task == EVERY_CYCLE)
            alike = [name for name in cyclic if cyclic[name] == goes_round]
            here = frame[frame["task"].isin([task] if task in cyclic else alike)]
            if here.empty:
                continue
            tasks = here["task"].unique()
            permuted = _mean_known(np.stack([null[name][:, number] for name in tasks], 1))
            about = {"directions": directions, "reading": reading, "task": task}
            about |= {"cyclic": goes_round}
            out.append(about | _row(here, permuted, reading == HEAD, seed))
    return pd.DataFrame(out)


def _mean_known(auc: Float[np.ndarray, "*some each"]) -> Float[np.ndarray, "*some"]:
    """The mean along the last axis of what is not NaN; NaN where all is."""
    n = (~np.isnan(auc)).sum(-1)
    return np.divide(np.nansum(auc, -1), n, out=np.full(n.shape, np.nan), where=n > 0)


def _permuted(
    kept: list[_Order], task: str, permutations: int, seed: int
) -> Int[np.ndarray, "permutations indices"]:
    """By index, a place that the element is given: the same for all spellings of a task."""
    indices = np.unique(np.concatenate([o.readout.index for o in kept if o.readout.task == task]))
    rng = np.random.default_rng(seed)
    out = np.zeros((permutations, int(indices.max()) + 1), dtype=int)
    out[:, indices] = rng.permuted(np.tile(indices, (permutations, 1)), axis=1)
    return out


def _row(
    frame: pd.DataFrame, null: Float[np.ndarray, " permutations"], is_head: bool, seed: int
) -> dict[str, Any]:
    cluster = frame.groupby(["task", "index"], sort=False).ngroup().to_numpy()
    values = np.stack([frame["auc"], frame["before"], frame["auc"] - frame["before"]])
    result = bootstrap_means(values, cluster, frame["task"].to_numpy(), seed=seed)
    auc, before, change = result.estimate
    ends = np.percentile(result.draws, [2.5, 97.5], 0)
    if result.n_clusters < 2:  # a single element shows no spread
        ends[:] = np.nan
    (low, _, change_low), (high, _, change_high) = ends
    null = null[~np.isnan(null)]  # where a few sources are left, an order may give them no pairs
    change = (np.nan,) * 4 if is_head else (before, change, change_low, change_high)
    return {
        "auc": auc,
        "auc_low": low,
        "auc_high": high,
        **dict(zip(("before", "change", "change_low", "change_high"), change, strict=True)),
        "permuted": null.mean(),
        "permuted_95": np.percentile(null, 95),
        "p_value": (1 + int((null >= auc).sum())) / (1 + len(null)),
        "chance": 0.5,
        "n_tokens": result.n_rows,
        "n_elements": result.n_clusters,
    }
