"""Double dissociation: what each of M(t)'s parts is for, and what it is not for.

Removing the residues should cost the units of the number that the successor head writes and spare
its tens; removing the tens should do the reverse. Neither should touch what another head makes of
the same vectors: copying is asked of the model's best copying head, on ordinal tokens and on words
without order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eval.heads.role_readouts import OTHER_WORDS, TENS, UNITS, Population, RoleReadout
from eval.patching.lesions import MATCHED, Lesions
from eval.patching.subspaces import remove, variance_share
from features.statistics import bootstrap_means, change_interval

OF_NUMBERS = (UNITS, TENS)
"""Readouts that are asked of numbers alone."""


@dataclass
class _Tally:
    """One subspace removed and one question, added up over sets and random draws."""

    after: Float[np.ndarray, " sources"]
    count: Float[np.ndarray, " sources"]
    ranks: list[int] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)


def dissociation_rows(
    sets: Sequence[Lesions],
    readouts: Sequence[RoleReadout],
    populations: Mapping[str, Population],
    held_out_task: Bool[np.ndarray, " tokens"],
) -> pd.DataFrame:
    """Remove each subspace from M(t) and ask each question again, token by token.

    Ordinal tokens are asked about where the set of directions was not fitted on them. Removal is to
    the mean of the fitted tokens that the question is asked of: of the numbers, or of all tasks,
    each counting alike. Nothing is fitted on the words without order: all of them are asked about,
    and their mean is over all.

    Args:
        sets: what is removed, beside one source of residue directions.
        readouts: of the successor head and of the copying head; those of the copying head without
            the tokens that it was chosen on.
        populations: of every readout, by its name.
        held_out_task: the ordinal tokens of tasks that are never fitted on.

    Returns:
        One row per subspace removed, readout and token, the mean over sets and random draws:
        `directions`, `removed`, `readout`, `task`, `element`, `row`; `before` and `after`, whether
        the head is right; `chance`; `rank`, `variance_removed` (of the fitted tokens that the
        question is asked of).
    """
    frames = []
    for name, population in populations.items():
        asked = [readout for readout in readouts if readout.name == name]
        if not asked:
            continue
        plain = pd.concat([_before(readout, population) for readout in asked], ignore_index=True)
        tallies: dict[str, _Tally] = {}
        for directions, lesions in sets:
            tested = directions.held_out
            fitted = ~tested & ~torch.tensor(held_out_task)
            if name in OF_NUMBERS:
                fitted &= torch.tensor(population.task == "numbers")
            if name == OTHER_WORDS:
                tested = fitted = torch.ones(len(population.x), dtype=torch.bool)
            mean = _balanced_mean(population.x[fitted], population.task[fitted.numpy()])
            spread = population.x[fitted] - mean
            for lesion in lesions:
                new = _Tally(np.zeros(len(plain)), np.zeros(len(plain)))
                tally = tallies.setdefault(lesion.removed, new)
                tally.ranks.append(lesion.basis.shape[1])
                tally.shares.append(variance_share(spread, lesion.basis))
                edited = remove(population.x, lesion.basis, mean)
                _ask(tally, asked, edited, tested)
        for removed, tally in tallies.items():
            seen = tally.count > 0
            about = {"directions": sets[0].directions.source, "removed": removed}
            about |= {"rank": int(np.median(tally.ranks))}
            about |= {"variance_removed": float(np.mean(tally.shares))}
            after = tally.after[seen] / tally.count[seen]
            frames.append(plain[seen].assign(after=after, **about))
    return pd.concat(frames, ignore_index=True)


def _balanced_mean(
    x: Float[Tensor, "tokens d_model"], task: np.ndarray
) -> Float[Tensor, " d_model"]:
    means = [x[torch.tensor(task == name)].mean(0) for name in np.unique(task)]
    return torch.stack(means).mean(0)


def _before(readout: RoleReadout, population: Population) -> pd.DataFrame:
    rows = readout.rows.numpy()
    return pd.DataFrame(
        {
            "readout": readout.name,
            "task": population.task[rows],
            "element": population.element[rows],
            "row": rows,
            "before": readout.right(population.x[readout.rows]).astype(float),
            "chance": readout.chance,
        }
    )


def _ask(
    tally: _Tally,
    asked: Sequence[RoleReadout],
    edited: Float[Tensor, "tokens d_model"],
    tested: Bool[Tensor, " tokens"],
) -> None:
    first = 0
    for readout in asked:
        at = torch.nonzero(tested[readout.rows])[:, 0]
        place = first + at.numpy()
        tally.after[place] += readout.right(edited[readout.rows[at]], at)
        tally.count[place] += 1
        first += len(readout.rows)


def dissociation_table(rows: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """What each question's answer is worth before and after each removal.

    Args:
        rows: of `dissociation_rows`, of one source of directions or several.
        seed: of the bootstrap.

    Returns:
        One row per `directions`, `removed` and `readout`: `value`, the share right after removal (a
        mean over tasks), with its 95% interval `low`, `high`; `before`; `change`, with a paired
        interval `change_low`, `change_high`; `chance`, of guessing among the candidates; `rank`,
        `variance_removed`; `n_tokens`, `n_elements`.
    """
    out = []
    for key, part in rows.groupby(["directions", "removed", "readout"], sort=False):
        columns = part[["after", "before", "chance"]].to_numpy(float).T
        values = np.concatenate([columns, columns[:1] - columns[1:2]])
        task, element = part["task"].to_numpy(), part["element"].to_numpy()
        result = bootstrap_means(values, element, task, seed=seed)
        low, high = result.interval()[:, 0]
        change = change_interval(result.draws[:, 3], result.estimate[3], result.n_clusters)
        about: dict[str, Any] = dict(zip(("directions", "removed", "readout"), key, strict=True))
        about |= {"value": result.estimate[0], "low": low, "high": high}
        about |= {"before": result.estimate[1]}
        about |= dict(zip(("change", "change_low", "change_high"), change, strict=True))
        about |= {"chance": result.estimate[2], "rank": int(part["rank"].median())}
        about |= {"variance_removed": part["variance_removed"].mean()}
        out.append(about | {"n_tokens": result.n_rows, "n_elements": result.n_clusters})
    return pd.DataFrame(out)


def dissociation_contrasts(rows: pd.DataFrame, modulus: int, *, seed: int = 0) -> pd.DataFrame:
    """The two interactions of a double dissociation, and the drops against random subspaces'.

    Args:
        rows: of `dissociation_rows`.
        modulus: of the residues.
        seed: of the bootstrap.

    Returns:
        One row per `directions` and `contrast`: `readout`; `removed` and `less`, the removals whose
        drops of the readout are compared; `value`, the drop under the first less the drop under the
        second, with its 95% interval `low`, `high`, paired by token; `n_tokens`, `n_elements`. A
        double dissociation is both of the first two contrasts above 0.
    """
    mod = f"mod-{modulus}"
    pairs = [
        (UNITS, mod, "tens"),
        (TENS, "tens", mod),
        (UNITS, mod, MATCHED),
        (TENS, "tens", MATCHED),
    ]
    out = []
    for source, part in rows.groupby("directions", sort=False):
        for readout, removed, less in pairs:
            asked = part[part["readout"] == readout]
            after = asked.pivot_table(index=["element", "row"], columns="removed", values="after")
            if not {removed, less} <= set(after):
                continue
            paired = after[[removed, less]].dropna()
            value = (paired[less] - paired[removed]).to_numpy()
            element = paired.index.get_level_values("element").to_numpy()
            result = bootstrap_means(value[None], element, seed=seed)
            interval = change_interval(result.draws[:, 0], result.estimate[0], result.n_clusters)
            about = {"directions": source, "contrast": f"{removed} less {less}"}
            about |= {"readout": readout, "removed": removed, "less": less}
            about |= dict(zip(("value", "low", "high"), interval, strict=True))
            out.append(about | {"n_tokens": result.n_rows, "n_elements": result.n_clusters})
    return pd.DataFrame(out)
