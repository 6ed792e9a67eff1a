"""Every shipped config goes the whole way on a small random model of its family."""

from pathlib import Path

import pandas as pd
import pytest

from ordinal.config import SHIPPED, load_config
from ordinal.run_folder import OUTPUTS, make_run
from ordinal.steps import run_missing
from tests.conftest import Checkpoints

FAMILIES = {"gpt2": "gpt2", "pythia-1.4b": "gpt_neox", "llama": "llama", "counting": "gpt2"}


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_config_runs_and_claims_nothing_of_a_random_model(
    path: Path, checkpoint: Checkpoints, tmp_path: Path
) -> None:
    name, config = load_config(path)
    family = FAMILIES[name]
    short = config.sae.model_copy(update={"members": 2, "steps": 20, "latents": 16, "workers": 1})
    model = checkpoint(family, tied=family != "gpt_neox")
    config = config.model_copy(update={"model": str(model), "sae": short})
    run = make_run(tmp_path / name, config)
    run_missing(run)
    assert all(run.done(step) for step in OUTPUTS)
    claims = pd.DataFrame(run.read_json("summary.json")["claims"])
    positive = claims[~claims["claim"].str.contains("no head")]
    assert not (positive["verdict"] == "supported").any()
    # These tokenizers hold the numbers to 60 alone: six for each last digit, and eight are needed.
    untested = claims[claims["verdict"] == "not testable"]
    assert "not testable" in " ".join(untested["control"])
