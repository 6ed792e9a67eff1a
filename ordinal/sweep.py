"""A grid of ensembles over sparsity and width: fitted, compared, one of them recommended."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from lm.errors import UsageError
from lm.files import write_parquet
from ordinal.config import RunConfig
from ordinal.run_folder import RUNS, Run, make_run
from ordinal.settings import named_config, settings_name, with_settings
from ordinal.steps import run_step
from ordinal.steps.fitting import harvested, train_on
from ordinal.steps.proving import same_model

SPARSITY = {
    "relu": "l1",
    "relu-weighted": "l1",
    "gated": "l1",
    "topk": "k",
    "batchtopk": "k",
    "jumprelu": "l0",
}
"""Each architecture's own setting for how sparse it is."""
FACTORS = (0.5, 1, 2, 4)
"""Of the config's own sparsity setting, where none is given."""
WIDTHS = (1, 2)
"""Of the config's own latents."""
FEWEST_MEMBERS = 3
"""Two hold out the folds that the choice is made on; the report is of the others."""


@dataclass(frozen=True)
class Sweep:
    """A folder of run folders, one for each cell of the grid."""

    base: Run
    """The sweep's own folder: the config it goes around, and the head that reads."""
    cells: dict[str, Run]
    command: str
    """What `ordinal run` takes to run the config."""

    @property
    def folder(self) -> Path:
        return self.base.folder

    @property
    def setting(self) -> str:
        """What sparsity is called in the config's section `sae`."""
        return SPARSITY[self.base.config.sae.architecture]


def open_sweep(
    target: str | Path,
    runs: Path = RUNS,
    *,
    sparsity: Sequence[float] = (),
    latents: Sequence[int] = (),
    members: int = 8,
    model: str | None = None,
    settings: Sequence[str] = (),
) -> Sweep:
    """Lay out the grid in `runs/<name>-sweep/`; the cells that are there stay as they are.

    Args:
        target: a config (file or shipped name).
        runs: where run folders lie.
        sparsity: values of the architecture's own setting; by default `FACTORS` of the config's.
        latents: widths; by default `WIDTHS` of the config's.
        members: SAEs in each cell.
        model: in place of the config's.
        settings: `KEY=VALUE` in place of the config's.

    Raises:
        UsageError: a value is wrong, or a cell is there with another config.
    """
    if members < FEWEST_MEMBERS:
        raise UsageError(
            f"--members is {members}: at least {FEWEST_MEMBERS} are needed, to choose on the held-"
            "out tokens of some and report those of others."
        )
    name, config = named_config(target, model=model, settings=settings)
    if config.pretrained is not None:
        raise UsageError(f"{target} studies a pretrained SAE: there is nothing to fit a sweep of.")
    setting = SPARSITY[config.sae.architecture]
    own = getattr(config.sae, setting)
    scaled = [max(1, round(own * f)) if isinstance(own, int) else own * f for f in FACTORS]
    widths = latents or [config.sae.latents * factor for factor in WIDTHS]
    folder = runs / f"{name}-sweep"
    grid: dict[str, RunConfig] = {}
    for width, value in product(widths, sparsity or scaled):
        chosen = {f"sae.{setting}": value, "sae.latents": width}
        changed: dict[str, Any] = {**chosen, "sae.members": members}
        cell = with_settings(config, changed, "--sparsity, --latents or --members")
        grid[settings_name(cell, chosen)] = cell
    words = [str(target), *(["--model", model] if model else [])]
    return Sweep(
        base=make_run(folder, config),
        cells={cell: make_run(folder / cell, config) for cell, config in grid.items()},
        command=shlex.join([*words, "--set", *settings]),
    )


def run_sweep(sweep: Sweep) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fit the cells that are not there yet, compare all, and write what was found.

    Returns:
        The frontier, one row a cell: `cell`, the setting's value, `latents`, and what
        `eval.dictionaries.frontier` measured and recommends. The same of each member.
    """
    from eval.dictionaries.frontier import cell_tables, recommend
    from eval.patching.readout import readouts
    from lm.open import open_model
    from ordinal.report.frontier import write_frontier

    base = sweep.base
    if not base.done("heads"):
        run_step(base, "heads")
    model = open_model(base.config.model)
    activations = harvested(base, model)
    for run in tqdm(sweep.cells.values(), "sweep", unit="cell", disable=None):
        if run.done("train"):
            same_model(run, model)
        else:
            train_on(run, activations)
    read = readouts(model, activations.tokens, base.head.layer, base.head.head)
    rows, tables = [], []
    for cell, run in sweep.cells.items():
        sae = run.config.sae
        about = {
            "cell": cell,
            sweep.setting: getattr(sae, sweep.setting),
            "latents": sae.latents,
        }
        row, members = cell_tables(run.ensemble, activations, read, seed=base.config.seed)
        rows.append({**about, **row})
        tables.append(members.assign(**about))
    frontier, members = recommend(pd.DataFrame(rows)), pd.concat(tables, ignore_index=True)
    write_parquet(members, sweep.folder / "members.parquet")
    write_parquet(frontier, sweep.folder / "frontier.parquet")
    lines = recommendation(frontier, members)
    write_frontier(sweep.folder, base.config.model, frontier, members, lines)
    return frontier, members


def recommendation(frontier: pd.DataFrame, members: pd.DataFrame) -> list[str]:
    """What is recommended, by which rule, and how it does where nothing was chosen."""
    from eval.dictionaries.frontier import RULE

    chosen = frontier.loc[frontier["recommended"]].iloc[0]
    of_cell = (members["cell"] == chosen["cell"]) & (members["member"] == chosen["typical_member"])
    member = members.loc[of_cell].iloc[0]
    agrees = "yes" if chosen["passes_report"] else "no"
    lines = [
        f"Recommended: {chosen['cell']}, {RULE}.",
        f"Chosen on {chosen['choice_n_tokens']} tokens that members with folds 0 and 1 held out: "
        f"{chosen['choice_preserved']:.3f} (best cell "
        f"{frontier['choice_preserved'].max():.3f}). On "
        f"{chosen['n_tokens']} that the others held out: {_score(chosen)} (best cell "
        f"{frontier['preserved'].max():.3f}); agrees: {agrees}.",
        f"Controls there: M(t) itself {chosen['control_m']:.3f}, M(t) shifted as far "
        f"{chosen['control_shifted']:.3f}. On tokens that were fitted: "
        f"{chosen['preserved_fitted']:.3f}.",
        f"Of its members take {member['member']:03d}: its latents come back best in the others "
        f"(mean cosine {member['mmcs']:.2f}); it keeps {_score(member)} on the "
        f"{member['n_tokens']} tokens that it held out.",
    ]
    if chosen["choice_l0"] == frontier["choice_l0"].min():
        close = "Every cell is that close, and no" if frontier["passes_choice"].all() else "No"
        lines.append(f"{close} cell is sparser: widen --sparsity to see where succession is lost.")
    return lines


def _score(row: pd.Series) -> str:
    return f"{row['preserved']:.3f} [{row['preserved_low']:.3f}, {row['preserved_high']:.3f}]"
