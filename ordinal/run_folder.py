"""The run folder: where each step finds what the steps before it wrote."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lm.errors import OrdinalError, UsageError
from lm.files import read_parquet, replacing, write_parquet
from ordinal.config import RunConfig, parse_config
from ordinal.settings import named_config

if TYPE_CHECKING:
    import pandas as pd

    from eval.heads.successor import HeadChoice
    from features.catalog import FeatureCatalog
    from sae.ensemble import SAEEnsemble
    from training.activations import Activations

RUNS = Path("runs")

VERIFIED = (
    *("logits", "witnesses", "witness_summary", "importance", "importance_summary"),
    *("ablation", "edits", "arithmetic", "rivals", "doses", "dose_effects", "planted"),
    *("in_context", "context_edits", "text_cases", "text_shares", "text_losses"),
    *("behaviours", "greater_than", "dissociation", "dissociation_contrasts", "head_roles"),
)
"""Tables of the verify step; those that the tokens cannot fill are empty."""

OUTPUTS: dict[str, tuple[str, ...]] = {
    "heads": (
        "tokens",
        "verification/baselines.parquet",
        "verification/heads.parquet",
        "head.json",
    ),
    "train": ("activations.safetensors", "saes"),
    "features": (
        "features.parquet",
        "residues.parquet",
        "order.parquet",
        "structure",
        "vectors.safetensors",
    ),
    "verify": (
        *(f"verification/{name}.parquet" for name in VERIFIED),
        "summary.json",
    ),
    "report": ("report.html",),
}
"""What each step leaves behind, in the order of the steps."""
STUDIES = {"baselines": ("baselines", "verification/dictionaries.parquet")}
"""What studies beside the steps leave behind."""
NEEDS: dict[str, tuple[str, ...]] = {
    "heads": (),
    "train": (),
    "features": ("train",),
    "verify": ("heads", "train", "features"),
    "report": ("heads", "train", "features", "verify"),
    "baselines": ("heads", "train"),
}
"""The steps that each step, or study, reads from."""


@dataclass(frozen=True)
class Run:
    """One experiment's folder and its config."""

    folder: Path
    config: RunConfig

    @property
    def verification(self) -> Path:
        return self.folder / "verification"

    @property
    def structure(self) -> Path:
        return self.folder / "structure"

    def done(self, step: str) -> bool:
        """Whether everything that a step leaves behind is there."""
        return all((self.folder / name).exists() for name in OUTPUTS[step])

    def require(self, *steps: str) -> None:
        """Raises OrdinalError naming the first step whose outputs are not all there."""
        for step in steps:
            if not self.done(step):
                absent = next(n for n in OUTPUTS[step] if not (self.folder / n).exists())
                raise OrdinalError(
                    f"{self.folder} has no {absent}: type `ordinal {step} {self.folder}` first, or "
                    f"`ordinal run {self.folder}` for everything that is missing."
                )

    def forget_after(self, step: str) -> None:
        """Remove what other steps made of this step's old output, and what was loaded of it."""
        for name in ("activations", "ensemble", "catalog", "head"):
            self.__dict__.pop(name, None)
        for later, needed in NEEDS.items():
            if step in needed:
                for name in (OUTPUTS | STUDIES)[later]:
                    path = self.folder / name
                    if path.is_dir():
                        shutil.rmtree(path)
                    else:
                        path.unlink(missing_ok=True)

    def structure_tables(self) -> "dict[str, pd.DataFrame]":
        """The tables in `structure/`; `left_out` says which are not there, and why."""
        return {path.stem: read_parquet(path) for path in sorted(self.structure.glob("*.parquet"))}

    def table(self, name: str) -> "pd.DataFrame":
        """A table in `verification/`: `heads`, `baselines`, `ablation`, `arithmetic`, ..."""
        return read_parquet(self.verification / f"{name}.parquet")

    def write_table(self, name: str, table: "pd.DataFrame") -> None:
        """What `table` reads."""
        write_parquet(table, self.verification / f"{name}.parquet")

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        with replacing(self.folder / name) as partial:
            partial.write_text(json.dumps(content, indent=1, allow_nan=True) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Raises OrdinalError when the file is missing or damaged."""
        path = self.folder / name
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise OrdinalError(f"{path} cannot be read ({error}).") from None

    @cached_property
    def activations(self) -> "Activations":
        from training.activations import Activations

        return Activations.load(self.folder / "activations.safetensors")

    @cached_property
    def ensemble(self) -> "SAEEnsemble":
        from sae.ensemble import SAEEnsemble

        return SAEEnsemble.load(self.folder)

    @cached_property
    def catalog(self) -> "FeatureCatalog":
        from features.catalog import FeatureCatalog

        return FeatureCatalog.load(self.folder)

    @cached_property
    def head(self) -> "HeadChoice":
        from eval.heads.successor import HeadChoice

        return HeadChoice(**self.read_json("head.json"))


def open_run(
    target: str | Path,
    runs: Path = RUNS,
    *,
    model: str | None = None,
    sae: str | None = None,
    settings: Sequence[str] = (),
) -> Run:
    """The run of a config or of a run folder; its folder is made if it is not there.

    Args:
        target: a config (file or shipped name), or an existing run folder.
        runs: where run folders lie.
        model: in place of the config's; the run folder is then named after both.
        sae: for the config's `pretrained`, likewise.
        settings: `KEY=VALUE` in place of the config's, likewise.

    Raises:
        UsageError: there is no such config, run or SAE, a setting is wrong, or the folder was made
            with another config.
    """
    if (Path(target) / "config.yaml").is_file():
        run = existing_run(target)
        if sae is not None and sae != run.config.pretrained:
            raise UsageError(
                f"{target} was made with `pretrained: {run.config.pretrained}`; to study {sae}, "
                "give a config in place of a run folder."
            )
        if settings:
            raise UsageError(
                f"{target} is a run folder, whose settings stay. Give --set with a config: the run "
                "then gets a folder of its own."
            )
        return run
    if Path(target).is_dir():
        raise UsageError(
            f"{target} is a folder without config.yaml, so no run folder. Give a config, or the "
            "folder that `ordinal run` printed."
        )
    name, config = named_config(target, model=model, sae=sae, settings=settings)
    return make_run(runs / name, config)


def make_run(folder: Path, config: RunConfig) -> Run:
    """Make a run folder, or open the one that is there if its config is the same.

    Raises:
        UsageError: it was made with another config; the first difference is named.
    """
    path = folder / "config.yaml"
    if path.is_file():
        there = existing_run(folder).config
        if there != config:
            raise UsageError(
                f"{folder} was made with another config ({_difference(there, config)}). Remove it, "
                "or copy the config under another name."
            )
        return Run(folder, config)
    with replacing(path) as partial:
        partial.write_text(config.to_yaml())
    return Run(folder, config)


def existing_run(folder: str | Path) -> Run:
    """Open a run folder.

    Raises:
        UsageError: it is none.
    """
    path = Path(folder) / "config.yaml"
    try:
        raw = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError):
        raise UsageError(
            f"{folder} is no run folder (no config.yaml in it). `ordinal run` makes one in {RUNS}/."
        ) from None
    except yaml.YAMLError as error:
        raise OrdinalError(f"{path} is damaged: {error}") from None
    if not isinstance(raw, dict):
        raise OrdinalError(f"{path} is damaged: it holds no settings.")
    return Run(Path(folder), parse_config(raw, str(path)))


def _difference(there: RunConfig, here: RunConfig) -> str:
    a, b = there.model_dump(), here.model_dump()
    key = next(key for key in a if a[key] != b[key])
    if isinstance(a[key], dict):
        inner = next(name for name in a[key] if a[key][name] != b[key][name])
        return f"{key}.{inner}: {a[key][inner]} there, {b[key][inner]} here"
    return f"{key}: {a[key]} there, {b[key]} here"
