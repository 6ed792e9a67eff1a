"""The checkpoints of one training, in the order in which they were made."""

import re
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import NamedTuple

from lm.errors import UsageError

_COUNTED = r"(?:step|checkpoint|ckpt|iter|epoch)[a-z]*[-_]?"
"""What comes before the number that counts, where a name has several: `step1000-tokens4B`."""


class Checkpoint(NamedTuple):
    """One checkpoint."""

    source: str
    """What `lm.open.open_model` takes."""
    label: str
    """The folder's name, or the hub's revision."""
    step: float
    """The number in the label; NaN where there is none."""


class Series(NamedTuple):
    """Checkpoints in order."""

    name: str
    checkpoints: list[Checkpoint]

    @property
    def positions(self) -> list[float]:
        """Where each stands on the axis: at its step, or at its place where steps do not tell."""
        steps = [checkpoint.step for checkpoint in self.checkpoints]
        return steps if self.has_steps else [float(place + 1) for place in range(len(steps))]

    @property
    def has_steps(self) -> bool:
        """Whether the numbers in the labels tell all checkpoints apart."""
        steps = {checkpoint.step for checkpoint in self.checkpoints}
        return len(steps) == len(self.checkpoints) and not any(map(isnan, steps))


def checkpoint_series(given: Sequence[str]) -> Series:
    """The checkpoints that were named, by the number in their names.

    Those without a number come last, as they were given.

    Args:
        given: folders, hub names as `NAME@REVISION`, or a folder that holds checkpoint folders.

    Raises:
        UsageError: nothing was given, or a folder is no checkpoint and holds none.
    """
    if not given:
        raise UsageError(
            "No checkpoints were given. Expected folders, a folder that holds them, or "
            "NAME@REVISION of the hub, as in `ordinal checkpoints out/` or `ordinal checkpoints "
            "NAME@step1000 NAME@step2000`."
        )
    sources = [source for word in given for source in _sources(word)]
    found = [_checkpoint(source) for source in dict.fromkeys(sources)]
    found.sort(key=lambda one: float("inf") if isnan(one.step) else one.step)
    return Series(_name(given), found)


def _sources(word: str) -> list[str]:
    """The checkpoint itself, or those that a folder holds."""
    path = Path(word).expanduser()
    if not path.is_dir():
        return [word]
    if (path / "config.json").is_file():
        return [str(path)]
    held = sorted(str(file.parent) for file in path.glob("*/config.json"))
    if not held:
        raise UsageError(
            f"{word} holds no checkpoints: expected folders in it as `checkpoint-500` or "
            "`step1000`, each with config.json, model.safetensors and tokenizer.json."
        )
    return held


def _checkpoint(source: str) -> Checkpoint:
    if Path(source).is_dir():
        label = Path(source).resolve().name
        return Checkpoint(source, label, _number(label))
    name, _, revision = source.partition("@")
    return Checkpoint(source, revision or name, _number(revision))


def _number(label: str) -> float:
    """The number that counts steps, else the last one."""
    found = re.search(_COUNTED + r"(\d+)", label, re.IGNORECASE) or re.search(r"(\d+)\D*$", label)
    return float(found.group(1)) if found else float("nan")


def _name(given: Sequence[str]) -> str:
    """The training's: of the folder that holds the checkpoints, or of the model."""
    path = Path(given[0]).expanduser()
    if not path.is_dir():
        return given[0].partition("@")[0].rstrip("/").rpartition("/")[2]
    path = path.resolve()
    return path.parent.name if (path / "config.json").is_file() else path.name
