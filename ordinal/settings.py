"""What takes the place of a config's own settings, and what the run is then called."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import yaml

from lm.errors import UsageError
from ordinal.config import RunConfig, load_config, parse_config


def named_config(
    target: str | Path,
    *,
    model: str | None = None,
    sae: str | None = None,
    settings: Sequence[str] = (),
) -> tuple[str, RunConfig]:
    """A config with what takes the place of its own settings, and the name of its run.

    Raises:
        UsageError: there is no such config or SAE, or a setting is wrong.
    """
    name, config = load_config(target)
    if model is not None and model != config.model:
        config = config.model_copy(update={"model": model})
        name = f"{name}-{Path(model).name}"
    if sae is not None and sae != config.pretrained:
        from sae.pretrained import check_source

        check_source(sae)
        config = config.model_copy(update={"pretrained": sae})
        folder = Path(sae)
        name += f"-{folder.resolve().name if folder.is_dir() else re.sub('[:/]', '-', sae)}"
    return changed(name, config, settings)


def changed(name: str, config: RunConfig, settings: Sequence[str]) -> tuple[str, RunConfig]:
    """A config with `KEY=VALUE` in place of its own, and its name with them in it."""
    if not settings:
        return name, config
    chosen = parse_settings(settings)
    config = with_settings(config, chosen)
    return f"{name}-{settings_name(config, chosen)}", config


def parse_settings(words: Sequence[str]) -> dict[str, Any]:
    """`sae.l1=0.5` as `{"sae.l1": 0.5}`, values read as YAML.

    Raises:
        UsageError: a word has no `=`, or what follows is not YAML.
    """
    settings = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise UsageError(f"--set {word}: expected KEY=VALUE, as sae.l1=0.5.")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UsageError(f"--set {word}: {value!r} is not a value in YAML.") from None
    return settings


def with_settings(
    config: RunConfig, settings: Mapping[str, Any], where: str = "--set"
) -> RunConfig:
    """A config with some settings changed.

    Args:
        config: what the others are taken from.
        settings: values by dotted key: `{"sae.l1": 0.5}`.
        where: they were given, for the error.

    Raises:
        UsageError: names the first that is wrong, and what was expected.
    """
    raw = config.model_dump(mode="json")
    for key, value in settings.items():
        *parents, last = key.split(".")
        section = raw
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise UsageError(f"{where}: `{key}` is not a setting. `{parent}` has no parts.")
        if isinstance(section.get(last), dict):
            first = f"{key}.{next(iter(section[last]))}"
            raise UsageError(f"{where}: `{key}` is a section: set a key of it, as `{first}`.")
        section[last] = value
    return parse_config(raw, where)


def settings_name(config: RunConfig, keys: Iterable[str]) -> str:
    """The settings as a folder's name: `l1=0.5-latents=128`.

    A key is named by its last part, or whole where a setting of the config has that name.
    """
    raw = config.model_dump(mode="json")
    parts = []
    for key in keys:
        last = key.rpartition(".")[2]
        value = reduce(getitem, key.split("."), raw)
        text = "-".join(map(str, value)) if isinstance(value, list) else Path(str(value)).name
        parts.append(f"{key if last in raw else last}={text.removesuffix('.0')}")
    return re.sub(r"[^A-Za-z0-9._=+-]+", "-", "-".join(sorted(parts)))
