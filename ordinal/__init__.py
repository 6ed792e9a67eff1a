"""Find the number features of a language model, prove that they are causal, edit with them.

Everything here is imported when it is first used, so that `import ordinal` costs nothing.
"""

from importlib import import_module, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eval.heads.successor import head_table
    from features.labels import label_features
    from lm.open import open_model
    from lm.ordinals import load_tasks, ordinal_tokens
    from lm.planted import PlantedDials, load_truth, plant
    from ordinal.api import load_run, over_training, run, successor_heads
    from ordinal.export.vectors import load_vectors
    from training.fit import train
    from training.harvest import harvest

__all__ = [
    "PlantedDials",
    "harvest",
    "head_table",
    "label_features",
    "load_run",
    "load_tasks",
    "load_truth",
    "load_vectors",
    "open_model",
    "ordinal_tokens",
    "over_training",
    "plant",
    "run",
    "successor_heads",
    "train",
]

_HOMES = {
    "head_table": "eval.heads.successor",
    "label_features": "features.labels",
    "open_model": "lm.open",
    "load_tasks": "lm.ordinals",
    "ordinal_tokens": "lm.ordinals",
    "plant": "lm.planted",
    "load_truth": "lm.planted",
    "PlantedDials": "lm.planted",
    "load_run": "ordinal.api",
    "over_training": "ordinal.api",
    "run": "ordinal.api",
    "successor_heads": "ordinal.api",
    "load_vectors": "ordinal.export.vectors",
    "train": "training.fit",
    "harvest": "training.harvest",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ordinal' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__


def _refuse_shadows() -> None:
    """A folder called `features` or `eval` in the working directory would be imported for ours."""
    home = Path(__file__).parent.parent
    for package in ("lm", "sae", "training", "features", "eval"):
        spec = util.find_spec(package)
        found = Path(spec.origin).parent if spec and spec.origin else None
        if found != home / package:
            raise ImportError(
                f"`{package}` should be ordinal's ({home / package}), but {found} comes first on "
                "the path: start Python elsewhere, or rename that folder."
            )


_refuse_shadows()
