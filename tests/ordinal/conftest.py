from pathlib import Path

import pytest
import yaml

from lm.planted import PlantedTruth, plant
from ordinal.api import run
from ordinal.run_folder import Run


def quick_config(model: Path, **sections) -> dict:
    """A config whose every step takes seconds."""
    config = {
        "model": str(model),
        "tokens": {"numbers": [0, 199]},
        "sae": {"members": 5, "latents": 48, "steps": 600, "workers": 1},
        "features": {"permutations": 200},
        "verify": {"random_subspaces": 4},
    }
    return config | sections


@pytest.fixture(scope="session")
def planted(tmp_path_factory) -> tuple[Path, PlantedTruth]:
    folder = tmp_path_factory.mktemp("planted") / "model"
    return folder, plant(folder, seed=4)


@pytest.fixture(scope="session")
def finished(planted, tmp_path_factory) -> Run:
    """A run of every step on the planted checkpoint. Do not write to its folder."""
    folder = tmp_path_factory.mktemp("finished")
    config = folder / "quick.yaml"
    config.write_text(yaml.safe_dump(quick_config(planted[0])))
    return run(config, runs=folder / "runs")
