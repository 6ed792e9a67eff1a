"""Activations of another model, as another tool would save them, give a catalog."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import pad

from features.catalog import FeatureCatalog
from lm.access import mlp0_outputs
from lm.open import open_model
from lm.ordinals import load_tasks, ordinal_tokens
from lm.planted import REFERENCE, planted_activations
from ordinal.run_folder import existing_run
from tests.ordinal.test_cli import ordinal

WIDTH = 200


def with_gaps(table, seed: int) -> np.ndarray:
    """Rows of the numbers to 300, without one number in eight."""
    index = table["index"].to_numpy()
    absent = np.random.default_rng(seed).random(301) < 1 / 8
    return np.flatnonzero((table["task"] == "numbers") & ~absent[index])


def written(file: Path, x: torch.Tensor, table) -> Path:
    rows = table[["text", "token_id", "task", "index"]].to_dict("records")
    save_file({"activations": x.contiguous()}, file, {"tokens": json.dumps(rows)})
    return file


def catalog_of(file: Path, runs: Path) -> FeatureCatalog:
    """By the commands; two members, each given half of the usual steps, are enough here."""
    quick = ("sae.members=2", "sae.steps=1500")
    assert ordinal("train", "--activations", file, "--runs", runs, "--set", *quick) == 0
    (folder,) = runs.iterdir()
    assert ordinal("features", folder) == 0
    return existing_run(folder).catalog


@pytest.fixture
def rotated(tmp_path: Path) -> Path:
    """Planted features in another basis, another width, and float16."""
    tokens, m, _ = planted_activations(REFERENCE, seed=5)
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0))).Q
    rows = with_gaps(tokens.table, seed=0)
    x = pad(m[torch.tensor(rows)], (0, WIDTH - m.shape[1])) @ turn
    return written(tmp_path / "rotated.safetensors", x.half(), tokens.table.iloc[rows])


def test_numbers_with_gaps_in_another_width_give_every_residue(rotated, tmp_path: Path) -> None:
    catalog = catalog_of(rotated, tmp_path / "runs")
    assert set(catalog.residues(10)["label"]) == {f"mod10/{r}" for r in range(10)}
    assert catalog.residues(7).empty
    assert "mod10/3" in catalog


@pytest.mark.parametrize("family", ["gpt_neox", "llama"])
def test_a_random_model_of_another_architecture_gives_no_residue(
    checkpoint, family: str, tmp_path: Path
) -> None:
    model = open_model(str(checkpoint(family)))
    tokens = ordinal_tokens(model.tokenizer, {"numbers": load_tasks(numbers=(0, 300))["numbers"]})
    rows = with_gaps(tokens.table, seed=1)
    table = tokens.table.iloc[rows]
    x = mlp0_outputs(model, torch.tensor(table["token_id"].to_numpy()))
    file = written(tmp_path / "random.safetensors", x, table)
    features = catalog_of(file, tmp_path / "runs").features
    labelled = features[features["label"] != "neither"]
    assert not labelled["family"].isin(["residue", "digit", "order"]).any()
