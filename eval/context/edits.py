"""Edits of M in context: does the model say the edited element's successor? (section 3.3)"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from eval.context.choosing import Possible, draw, not_fitted
from eval.context.families import Context, Family
from eval.context.in_context import by_task, shares
from eval.context.paths import Edit, Patch, Path
from eval.context.prompts import batches
from eval.patching.operators import Operator
from features.statistics import bootstrap_means, clusters
from training.activations import Activations

EDITS = 100
"""Prompts for each family, operator and source of directions, dealt over members and tasks."""
SUCCESSES = ("value_direct", "value_total", "everywhere_total")
FIGURES = ("clean", "weights", *(c + name for c in ("", "random_") for name in SUCCESSES))


def context_edits_table(
    context: Context,
    operators: Sequence[Operator],
    activations: Activations,
    *,
    edits: int = EDITS,
    seed: int = 0,
) -> pd.DataFrame:
    """Edit the source in prompts by every operator, along both paths.

    Sources are elements that the operator's directions were not fitted on (of a swap, targets), of
    the half that no template was chosen on; the scale is that of the same edits of M(t).

    Args:
        context: the prompts.
        operators: those of one name and source of directions are pooled over their members.
        activations: M(t).
        edits: prompts for each family and pool.
        seed: of the edits drawn, and of the random vectors.

    Returns:
        One row per `family` (`all`: their prompts together), `operator`, `directions` (their
        source) and `task` (`all`: the mean over tasks, those held out apart) with the share of
        prompts that give exactly the successor of the edited element: `value_direct` (the clean
        logits and the head's direct change, edited on the path into its values), `value_total`,
        `everywhere_total` (M itself edited), each beside random vectors of the same length
        (`random_`); `weights` (the OV circuit on the edited M(t)); `clean` (the share that gives
        the source's own successor, unedited); 95% intervals `_low`, `_high`; `scale` (mean),
        `n_tokens`, `n_prompts`, `n_members`.
    """
    rng = np.random.default_rng(seed)
    pools: dict[tuple[str, str], list[Possible]] = {}
    for operator in operators:
        key = operator.name, operator.directions.source
        pools.setdefault(key, []).append(not_fitted(operator, activations, context.readouts))
    rows = []
    for (name, source), pool in tqdm(
        pools.items(), "edits in context", leave=False, delay=2, disable=None
    ):
        frames = {}
        for family in context.families:
            drawn = draw(pool, family, edits, rng)
            if len(drawn):
                found = _outcomes(drawn, pool, family, context, activations, rng)
                sources = context.tokens.table.loc[drawn["source"]].reset_index(drop=True)
                frames[family.name] = pd.concat(
                    [sources, drawn[["scale", "member"]], found], axis=1
                )
        if frames:
            frames = {"all": pd.concat(frames.values(), ignore_index=True), **frames}
        for family, frame in frames.items():
            frame["element"] = clusters(frame)
            for task, keep in by_task(frame, context.tokens.tasks).items():
                rows.append(
                    {"family": family, "operator": name, "directions": source, "task": task}
                    | _row(frame[keep], seed)
                )
    return pd.DataFrame(rows)


def _outcomes(
    drawn: pd.DataFrame,
    pool: Sequence[Possible],
    family: Family,
    context: Context,
    activations: Activations,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Whether each edit gives what it should: `FIGURES`, one row an edit."""
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
    for member, one in enumerate(pool):
        at = np.flatnonzero(drawn["member"] == member)
        m, operator = activations.x[source[at]], one.operator
        taken = operator.taken(m, torch.from_numpy(source[at]))
        change = operator.given(torch.from_numpy(target[at])) - taken
        scale = torch.tensor(drawn["scale"].to_numpy()[at]).float()
        said = answers.said(head.circuit.logits(m + scale[:, None] * change), source[at])
        out["weights"][at] = said == expected[at]
    return pd.DataFrame(out)


def _patch(
    drawn: pd.DataFrame,
    pool: Sequence[Possible],
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


def _row(edits: pd.DataFrame, seed: int) -> dict[str, float | int]:
    result = bootstrap_means(
        edits[list(FIGURES)].to_numpy(float).T,
        edits["element"].to_numpy(),
        edits["task"].to_numpy(),
        seed=seed,
    )
    row: dict[str, float | int] = {}
    for at, (name, (low, high)) in enumerate(zip(FIGURES, shares(result).T, strict=True)):
        row |= {name: float(result.estimate[at]), f"{name}_low": low, f"{name}_high": high}
    return row | {
        "scale": float(edits["scale"].mean()),
        "n_tokens": edits["token_id"].nunique(),
        "n_prompts": len(edits),
        "n_members": edits["member"].nunique(),
    }
