import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Checkpoints = Callable[..., Path]

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """`checkpoint(family, tied=..., ...)`: the folder of a small random model, made once a session.

    See `save_checkpoint` for the arguments. Do not write to the folder.
    """
    from tests.checkpoints import save_checkpoint

    logging.getLogger("transformers").setLevel(logging.ERROR)
    made: dict[str, Path] = {}

    def make(family: Any, **settings: Any) -> Path:
        key = f"{family}-" + "-".join(f"{name}={value}" for name, value in sorted(settings.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("checkpoints") / key
            made[key] = save_checkpoint(folder, family, **settings)
        return made[key]

    return make
