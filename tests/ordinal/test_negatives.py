"""Where there is nothing to find, the claims come out not supported."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

import ordinal
from lm.planted import PlantedDials, plant
from tests.ordinal.conftest import quick_config

OF_THE_FEATURES = ("members, 10 residues", "own class given back", "edit numbers, SAE")
"""Claims that say mod 10."""
NEEDED = "left, SAE ablated"


def claims_of(model: Path, folder: Path) -> pd.DataFrame:
    quick = {"members": 6, "latents": 48, "steps": 400, "workers": 1}
    config = folder / "quick.yaml"
    sections = {"sae": quick, "verify": {"random_subspaces": 4, "in_context": False}}
    config.write_text(yaml.safe_dump(quick_config(model, **sections)))
    run = ordinal.run(config, runs=folder / "runs")
    return pd.DataFrame(run.read_json("summary.json")["claims"]).set_index("claim")


@pytest.fixture(scope="module")
def modulus_seven(tmp_path_factory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("seven")
    plant(folder / "model", PlantedDials(modulus=7), seed=3)
    return claims_of(folder / "model", folder)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory) -> pd.DataFrame:
    """The same architecture and tokens, with the weights that training would start from."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("untrained")
    plant(folder / "planted")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder / "planted"))
    model.save_pretrained(folder / "model")
    for file in (folder / "planted").glob("tokenizer*"):
        shutil.copy(file, folder / "model")
    return claims_of(folder / "model", folder)


def test_mod_10_is_not_supported_where_7_is_planted(modulus_seven: pd.DataFrame) -> None:
    for name in OF_THE_FEATURES:
        assert modulus_seven.loc[name, "verdict"] == "not supported", name
    # The latents that come nearest to residues mod 10 are features of something else, and needed.
    assert modulus_seven.loc[NEEDED, "verdict"] != "supported"
    head = modulus_seven[modulus_seven["criterion"] == "selection correction"]
    assert (head["verdict"] == "supported").all()


def test_nothing_is_supported_of_random_weights(untrained: pd.DataFrame) -> None:
    head = untrained[untrained["criterion"] == "selection correction"]
    assert (head["verdict"] == "not supported").all()
    for name in (*OF_THE_FEATURES, NEEDED):
        assert untrained.loc[name, "verdict"] == "not supported", name
    elsewhere = {"baseline separation", "planted sensitivity"}
    of_the_model = untrained[~untrained["criterion"].isin(elsewhere)]
    assert not (of_the_model["verdict"] == "supported").any()
