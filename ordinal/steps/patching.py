"""The directions put through the head: ablations, edits by every operator, doses, and rivals."""

from typing import TYPE_CHECKING

import pandas as pd
from tqdm import tqdm

from ordinal.run_folder import Run

if TYPE_CHECKING:
    from eval.patching.operators import Operator
    from eval.patching.readout import Readout
    from features.directions import ResidueDirections

TABLES = (
    "ablation",
    "edits",
    "arithmetic",
    "rivals",
    "doses",
    "dose_effects",
    "planted",
)
"""In `verification/`."""


def patch(
    run: Run,
    read: "list[Readout]",
    sources: "list[list[ResidueDirections]]",
    operators: "list[list[Operator]]",
) -> None:
    """SAE features, class means and a linear probe through the same ablations and edits.

    Args:
        run: whose activations are patched.
        read: the head's readouts.
        sources: the directions; none where residues are not testable, and all tables are empty.
        operators: made of them.
    """
    tables = _tables(run, read, sources, operators) if sources else [pd.DataFrame()] * len(TABLES)
    for name, table in zip(TABLES, tables, strict=True):
        run.write_table(name, table)


def _tables(
    run: Run,
    read: "list[Readout]",
    sources: "list[list[ResidueDirections]]",
    operators: "list[list[Operator]]",
) -> list[pd.DataFrame]:
    from eval.patching.ablation import ablation_table
    from eval.patching.arithmetic import arithmetic_table
    from eval.patching.doses import dose_response
    from eval.patching.edits import operator_edits
    from eval.patching.rivals import rival_table
    from eval.scorecard.planted import planted_control

    config, activations = run.config, run.activations
    seed, modulus = config.seed, config.features.modulus
    ablations, edits = [], []
    for sets in tqdm(sources, "ablations", leave=False, delay=1, disable=None):
        ablations.append(
            ablation_table(
                sets,
                activations,
                read,
                random_subspaces=config.verify.random_subspaces,
                seed=seed,
            )
        )
    for some in tqdm(operators, "edits", leave=False, delay=1, disable=None):
        edits.append(operator_edits(some, activations, read, seed=seed))
    every_edit = pd.concat(edits, ignore_index=True)
    of_sae = [operator for some in operators for operator in some if _is_studied(operator)]
    doses = dose_response(sources[0], of_sae, activations, read, seed=seed)
    latents = run.ensemble.members[0].d_sae
    return [
        pd.concat(ablations, ignore_index=True),
        every_edit,
        arithmetic_table(every_edit, modulus, seed=seed),
        rival_table(activations, read, modulus, latents, seed=seed),
        doses.curves,
        doses.effects,
        pd.DataFrame() if config.pretrained else planted_control(config.sae, seed=seed),
    ]


def residue_directions(run: Run) -> "list[list[ResidueDirections]]":
    """The directions of the SAEs and of the witnesses, one list of sets for each source."""
    from features.activity import latent_activity
    from features.directions import class_mean_directions, probe_directions, sae_directions

    modulus, activations = run.config.features.modulus, run.activations
    activity = latent_activity(run.ensemble, activations)
    return [
        sae_directions(run.ensemble, activity, activations, modulus),
        class_mean_directions(activations, modulus),
        probe_directions(activations, modulus),
    ]


def all_operators(run: Run, sources: "list[list[ResidueDirections]]") -> "list[list[Operator]]":
    """Every operator on every source that it can be made of, one list for each.

    The swap, which needs no directions, stands beside its control: the same exchange in random
    subspaces of the same rank.
    """
    from eval.patching.operators import Add, Clamp, Remove, Replace
    from eval.patching.swaps import index_swaps, random_swap

    activations, members = run.activations, run.ensemble.members
    out: list[list[Operator]] = []
    for sets in sources:
        for operator in (Add, Remove, Replace):
            out.append([operator(directions, activations) for directions in sets])
        if sets[0].latents:
            out.append([Clamp(one, activations, members[one.member]) for one in sets])
    seed, modulus = run.config.seed, run.config.features.modulus
    swaps = index_swaps(activations, modulus, seed=seed)
    out.append([*swaps])
    out.append([random_swap(swap, seed=seed) for swap in swaps])
    return out


def _is_studied(operator: "Operator") -> bool:
    return operator.directions.source in ("SAE", "projections")
