"""Edits of M in context: does the model say the edited element's successor? (section 3.3)"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from tqdm import tqdm

from eval.context.families import Context, Family
from eval.context.in_context import by_task, shares
from eval.context.paths import Edit, Patch, Path
from eval.context.prompts import batches
from eval.patching.arithmetic import SCALES, possible_edits
from eval.patching.operators import Operator
from eval.patching.readout import Readout
from features.statistics import bootstrap_means, clusters
from training.activations import Activations

EDITS = 120
"""Prompts for each family, operator and source of directions, dealt over members and tasks."""
CHOSEN_ON = 200
"""Edits at most, of a task and spelling, that the scale is chosen on."""
SUCCESSES = ("value_direct", "value_total", "everywhere_total")
FIGURES = ("clean", "weights", *(c + name for c in ("", "random_") for name in SUCCESSES))


class _Possible(NamedTuple):
    """What one operator may be asked for, on tokens that it was not fitted on."""

    operator: Operator
    table: pd.DataFrame
    """`source`, `target` (rows), `task`, `scale`."""


def context_edits_table(
    context: Context,
    operators: Sequence[Operator],
    activations: Activations,
    *,
    edits: int = EDITS,
    seed: int = 0,
) -> pd.DataFrame:
    """Edit the source in prompts by every operator, along both paths.

    Sources are elements that the operator's directions were not fitted on, of the half that no
    template was chosen on. The scale is chosen, task by task, on the other elements through the
    head's OV circuit on M(t), never in context; of several that are equally good the middle one.

    Args:
        context: the prompts.
        operators: those of one name and source of directions are pooled over their members.
        activations: M(t).
        edits: prompts for each family and pool.
        seed: of the edits drawn, and of the random vectors.

    Returns:
        One row per family, `operator`, `directions` (their source) and task (`all`: the mean over
        tasks, those held out apart) with the share of prompts that give exactly the successor of
        the edited element: `value_direct` (the clean logits and the head's direct change, edited on
        the path into its values), `value_total`, `everywhere_total` (M itself edited), each beside
        a random vector of the same length (`random_`); `weights` (the OV circuit on the edited
        M(t)); `clean` (the share that gives the source's own successor, unedited); 95% intervals
        `_low`, `_high`; `scale` (mean), `n_tokens`, `n_prompts`, `n_members`.
    """
    rng = np.random.default_rng(seed)
    pools: dict[tuple[str, str], list[_Possible]] = {}
    for operator in operators:
        key = operator.name, operator.directions.source
        pools.setdefault(key, []).append(_possible(operator, context, activations, rng))
    rows = []
    for family in tqdm(context.families, "edits in context", leave=False, delay=2, disable=None):
        for (name, source), pool in pools.items():
            drawn = _drawn(pool, family, context, edits, rng)
            if drawn.empty:
                continue
            found = _outcomes(drawn, pool, family, context, activations, rng)
            sources = context.tokens.table.loc[drawn["source"]].reset_index(drop=True)
            for task, keep in by_task(sources, context.tokens.tasks).items():
                rows.append(
                    {"family": family.name, "operator": name, "directions": source, "task": task}
                    | _row({k: v[keep] for k, v in found.items()}, sources[keep], seed)
                    | {
                        "scale": float(drawn["scale"][keep].mean()),
                        "n_tokens": drawn["source"][keep].nunique(),
                        "n_prompts": int(keep.sum()),
                        "n_members": drawn["member"][keep].nunique(),
                    }
                )
    return pd.DataFrame(rows)


def _possible(
    operator: Operator, context: Context, activations: Activations, rng: np.random.Generator
) -> _Possible:
    may_give, held_out = operator.can_give().numpy(), operator.directions.held_out.numpy()
    reported = []
    for task in dict.fromkeys(readout.task for readout in context.readouts):
        right, here = np.zeros(len(SCALES)), []
        for readout in context.readouts:
            if readout.task != task:
                continue
            source, target = _pairs(readout, operator.directions.modulus)
            rows = readout.rows.numpy()
            allowed = may_give[rows[target]]
            unseen = allowed & held_out[rows[source]]
            fitted = np.flatnonzero(allowed & ~held_out[rows[source]] & ~held_out[rows[target]])
            fitted = rng.permutation(fitted)[:CHOSEN_ON]
            right += _right(operator, activations, readout, source[fitted], target[fitted])
            here.append(
                pd.DataFrame({"source": rows[source[unseen]], "target": rows[target[unseen]]})
            )
        best = np.flatnonzero(right == right.max())
        scale = SCALES[int(best[len(best) // 2])] if right.any() else 1.0
        reported.append(pd.concat(here).assign(task=task, scale=scale))
    return _Possible(operator, pd.concat(reported, ignore_index=True))


def _pairs(
    readout: Readout, modulus: int
) -> tuple[Int[np.ndarray, " edits"], Int[np.ndarray, " edits"]]:
    """Positions of source and target of every edit: 47 with 3 is 43."""
    possible = possible_edits(readout, modulus)
    position = {int(index): at for at, index in enumerate(readout.index)}
    index = readout.index[possible.source] - possible.i + possible.j
    return possible.source, np.array([position[int(at)] for at in index], dtype=int)


def _right(
    operator: Operator,
    activations: Activations,
    readout: Readout,
    source: Int[np.ndarray, " edits"],
    target: Int[np.ndarray, " edits"],
) -> Int[np.ndarray, " scales"]:
    """Edits that succeed through the OV circuit, at each scale."""
    if not len(source):
        return np.zeros(len(SCALES), dtype=int)
    m, logits = activations.x[readout.rows], readout.circuit.logits
    taken = logits(operator.taken(m, readout.rows))[source]
    moved = logits(operator.given(readout.rows))[target] - taken
    base, expected = logits(m)[source], torch.from_numpy(readout.successor[target])
    said = [(base + scale * moved).argmax(1) == expected for scale in SCALES]
    return torch.stack(said).sum(1).numpy()


def _drawn(
    pool: Sequence[_Possible],
    family: Family,
    context: Context,
    edits: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Edits drawn at random, as many of each member and, where there are enough, of each task."""
    prompt = np.full(len(context.tokens), -1)
    prompt[family.rows] = np.arange(len(family.prompts))
    parts = []
    for member, possible in enumerate(pool):
        table = possible.table.assign(member=member, prompt=prompt[possible.table["source"]])
        table = table[table["prompt"] >= 0]
        table = table.iloc[rng.permutation(len(table))]
        turn = table.groupby("task").cumcount()
        order = np.lexsort((rng.random(len(turn)), turn))
        parts.append(table.iloc[order].head(-(-edits // len(pool))))
    return pd.concat(parts, ignore_index=True)


def _outcomes(
    drawn: pd.DataFrame,
    pool: Sequence[_Possible],
    family: Family,
    context: Context,
    activations: Activations,
    rng: np.random.Generator,
) -> dict[str, Bool[np.ndarray, " prompts"]]:
    """Whether each edit gives what it should, on every path and with every control."""
    answers, head = context.answers, context.head
    source, target = drawn["source"].to_numpy(), drawn["target"].to_numpy()
    expected, own = answers.successor[target], answers.successor[source]
    out = {name: np.zeros(len(drawn), dtype=bool) for name in FIGURES}
    for part, ids in batches([family.prompts[at] for at in drawn["prompt"]]):
        rows, clean = source[part], head.run(ids)
        out["clean"][part] = answers.said(clean.logits, rows) == own[part]
        for control, random in ("", None), ("random_", int(rng.integers(2**31))):
            value, everywhere = (
                head.effects(
                    clean, ids, _patch(drawn.iloc[part], pool, family, context, path, random)
                )
                for path in ("value", "everywhere")
            )
            changes = value.direct, value.total, everywhere.total
            for name, change in zip(SUCCESSES, changes, strict=True):
                said = answers.said(clean.logits + change, rows)
                out[control + name][part] = said == expected[part]
    for member, possible in enumerate(pool):
        at = np.flatnonzero(drawn["member"] == member)
        m, operator = activations.x[source[at]], possible.operator
        taken = operator.taken(m, torch.from_numpy(source[at]))
        change = operator.given(torch.from_numpy(target[at])) - taken
        scale = torch.tensor(drawn["scale"].to_numpy()[at]).float()
        said = answers.said(head.circuit.logits(m + scale[:, None] * change), source[at])
        out["weights"][at] = said == expected[at]
    return out


def _patch(
    drawn: pd.DataFrame,
    pool: Sequence[_Possible],
    family: Family,
    context: Context,
    path: Path,
    random: int | None,
) -> Patch:
    """The edits of one batch, one prompt a row."""
    edits = []
    for member in drawn["member"].unique():
        at = np.flatnonzero(drawn["member"] == member)
        mine = drawn.iloc[at]
        edits.append(
            Edit(
                pool[member].operator,
                prompts=torch.from_numpy(at),
                positions=torch.tensor([family.prompts[p].position for p in mine["prompt"]]),
                sources=torch.tensor(mine["source"].to_numpy()),
                targets=torch.tensor(mine["target"].to_numpy()),
                scale=torch.tensor(mine["scale"].to_numpy())[:, None].float(),
                random=None if random is None else random + int(member),
            )
        )
    return Patch(context.head.layer, context.head.head, path, tuple(edits))


def _row(
    found: dict[str, Bool[np.ndarray, " prompts"]], sources: pd.DataFrame, seed: int
) -> dict[str, float]:
    result = bootstrap_means(
        np.stack([found[name] for name in FIGURES]).astype(float),
        clusters(sources),
        sources["task"].to_numpy(),
        seed=seed,
    )
    row = {}
    for at, (name, (low, high)) in enumerate(zip(FIGURES, shares(result).T, strict=True)):
        row |= {name: float(result.estimate[at]), f"{name}_low": low, f"{name}_high": high}
    return row
