"""What an experiment is: one YAML file, checked key by key. Light to import: `--help` needs it."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from lm.errors import UsageError
from training.config import TrainConfig

SHIPPED = Path(__file__).parent.parent / "configs"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class TokensConfig(_Section):
    """Which tokens are studied."""

    numbers: tuple[int, int] = (0, 500)
    """First and last number that SAEs are fitted on (the paper: 0 to 500)."""
    scored_numbers: tuple[int, int] = (1, 200)
    """First and last number that successor scores count (the paper: 1 to 200)."""
    tasks_file: str | None = None
    """A YAML file of tasks in place of the paper's; see lm/tasks.yaml."""

    @model_validator(mode="after")
    def _ranges(self) -> "TokensConfig":
        for name in ("numbers", "scored_numbers"):
            first, last = getattr(self, name)
            if not 0 <= first < last:
                raise ValueError(f"{name} must be [first, last] with 0 <= first < last")
        return self


class FeaturesConfig(_Section):
    """How latents are labelled."""

    modulus: Annotated[int, Field(ge=2, le=100)] = 10
    """Of the residues looked for."""
    permutations: PositiveInt = 1000
    """Behind each p-value."""


class VerifyConfig(_Section):
    """How the directions are put to the test."""

    random_subspaces: PositiveInt = 20
    """Controls of matched variance for each set of directions."""
    in_context: bool = True
    """Also read the head in context, which loads the whole model in float32."""
    text: str | None = None
    """Natural text to study the head in: a text file, or the name of a dataset on the hub. By
    default fresh documents of the embedded model's corpus, for that model alone."""
    text_contexts: Annotated[int, Field(ge=2)] = 128
    """Contexts of that text (the paper: 128 of 512 tokens)."""


class TrackingConfig(_Section):
    """What wandb gets beside the ensemble's run; wandb's own variables set the rest."""

    member_runs: bool = False
    """Also a wandb run for each member, in the ensemble's group."""


class RunConfig(_Section):
    """One experiment, from a model to verified features."""

    model: str
    """`counting`, a folder, or a hub name."""
    ln: Literal["model", "none"] = "model"
    """Whether M(t) applies ln2 before MLP0."""
    tokens: TokensConfig = TokensConfig()
    sae: TrainConfig = TrainConfig()
    pretrained: str | None = None
    """An SAE trained elsewhere, studied in place of fitting any: a SAELens folder, or
    `RELEASE:SAE_ID` of SAELens's pretrained SAEs."""
    features: FeaturesConfig = FeaturesConfig()
    verify: VerifyConfig = VerifyConfig()
    tracking: TrackingConfig = TrackingConfig()
    seed: int = 0
    """Of the folds, the halves, the bootstrap and the controls; training has its own."""

    def to_yaml(self) -> str:
        """Every setting, defaults written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_config(name_or_path: str | Path) -> tuple[str, RunConfig]:
    """Read a config.

    Args:
        name_or_path: a YAML file, or the name of one that ships (`counting`, `gpt2`, ...).

    Returns:
        The file's stem, which names the run folder, and the config.

    Raises:
        UsageError: there is no such file, or a line of it is wrong: it is named, with what was
            expected.
    """
    path = Path(name_or_path)
    if not path.suffix and not path.exists():
        path = SHIPPED / f"{path}.yaml"
    try:
        raw = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError):
        shipped = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.yaml")))
        raise UsageError(
            f"{name_or_path}: no such config. Give a YAML file, or one of {shipped}."
        ) from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise UsageError(f"{path}: expected `key: value` lines, the first as `model: counting`.")
    return path.stem, parse_config(raw, str(path))


def parse_config(raw: dict[str, Any], where: str) -> RunConfig:
    """Check a mapping against `RunConfig`.

    Raises:
        UsageError: names the first key that is wrong, and what was expected.
    """
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise UsageError(f"{where}: {_explain(error)}") from None


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    *parents, key = _place(first) or [""]
    name = ".".join([*parents, key])
    if first["type"] == "missing":
        return f"`{name}` is missing."
    if first["type"] != "extra_forbidden":
        same = [other for other in error.errors() if _place(other) == _place(first)]
        reasons = [other["msg"].removeprefix("Value error, ") for other in same]
        reason = "; or ".join(reason[0].lower() + reason[1:] for reason in reasons)
        return f"`{name}` is {first['input']!r}: {reason}."
    known = _keys(parents)
    close = get_close_matches(key, known, 1)
    hint = f"Did you mean `{close[0]}`?" if close else f"Known here: {', '.join(known)}."
    return f"`{name}` is not a setting. {hint}"


def _place(error: Mapping[str, Any]) -> list[str]:
    """The key that an error is about; pydantic adds `constrained-int` and such for each choice."""
    parts = [str(part) for part in error["loc"]]
    named = error["type"] == "extra_forbidden"
    return [part for part in parts if named or re.fullmatch(r"\w+", part)]


def _keys(parents: list[str]) -> list[str]:
    section: Any = RunConfig
    for parent in parents:
        section = section.model_fields[parent].annotation
    return list(section.model_fields)
