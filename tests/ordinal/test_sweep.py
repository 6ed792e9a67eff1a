"""Settings on the command line, and a sweep from the grid to the recommendation."""

import json
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
import yaml

from lm.errors import UsageError
from ordinal.config import load_config
from ordinal.run_folder import existing_run, open_run
from ordinal.settings import parse_settings, settings_name, with_settings
from ordinal.sweep import SPARSITY, open_sweep
from tests.ordinal.test_cli import one_line, ordinal
from training.config import TrainConfig


def changed(*words: str):
    return with_settings(load_config("counting")[1], parse_settings(words))


def test_settings_are_read_as_yaml_and_leave_the_others() -> None:
    config = changed(
        "sae.l1=0.5", "sae.learning_rate=1e-3", "sae.batch=full", "tokens.numbers=[0, 9]"
    )
    assert (config.sae.l1, config.sae.learning_rate, config.sae.batch) == (0.5, 0.001, "full")
    assert config.tokens.numbers == (0, 9)
    assert config.sae.latents == load_config("counting")[1].sae.latents


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("sae.latent=8", "`sae.latent` is not a setting. Did you mean `latents`?"),
        ("saee.l1=1", "`saee` is not a setting. Did you mean `sae`?"),
        ("sae.l1=-1", "`sae.l1` is -1"),
        ("sae.latents=many", "`sae.latents` is 'many'"),
        ("sae.batch=some", "`sae.batch` is 'some': input should be a valid integer"),
        ("sae.batch=some", "; or input should be 'full'."),
        ("sae.latents", "expected KEY=VALUE"),
        ("sae.l1=[", "is not a value in YAML"),
        ("sae=5", "`sae` is a section"),
        ("model.size=5", "`model.size` is not a setting"),
    ],
)
def test_a_wrong_setting_is_one_line(word: str, said: str, tmp_path: Path, capsys) -> None:
    assert ordinal("train", "counting", "--set", word, "--runs", tmp_path) == 2
    assert said in one_line(capsys)
    assert not list(tmp_path.iterdir())


def test_the_run_is_named_after_its_settings(tmp_path: Path) -> None:
    run = open_run("counting", tmp_path, settings=["sae.latents=128", "sae.l1=.50"])
    assert run.folder.name == "counting-l1=0.5-latents=128"
    assert run.config.sae.latents == 128
    assert open_run(run.folder).config == run.config
    with pytest.raises(UsageError, match="folder of its own"):
        open_run(run.folder, settings=["sae.l1=1"])


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["seed=1", "sae.seed=2"], "sae.seed=2-seed=1"),
        (["tokens.numbers=[0, 99]"], "numbers=0-99"),
        (["tokens.tasks_file=/some where/my tasks.yaml"], "tasks_file=my-tasks.yaml"),
        (["sae.l1=1.0"], "l1=1"),
    ],
)
def test_names_of_settings(words: list[str], name: str) -> None:
    settings = parse_settings(words)
    assert settings_name(changed(*words), settings) == name


def test_every_architecture_has_a_sparsity_setting_of_its_own() -> None:
    assert set(SPARSITY) == set(get_args(TrainConfig.model_fields["architecture"].annotation))
    assert set(SPARSITY.values()) <= set(TrainConfig.model_fields)


def test_the_grid_goes_around_the_configs_own_values(tmp_path: Path) -> None:
    sweep = open_sweep("counting", tmp_path)
    assert len(sweep.cells) == 4 * 2
    assert {run.config.sae.members for run in sweep.cells.values()} == {8}
    assert list(sweep.cells)[1] == "l1=0.75-latents=64"
    topk = open_sweep("counting", tmp_path, settings=["sae.architecture=topk"], latents=[64])
    assert topk.folder.name == "counting-architecture=topk-sweep"
    assert list(topk.cells) == [f"k={k}-latents=64" for k in (4, 8, 16, 32)]


def test_a_sweep_of_too_few_members_is_refused(tmp_path: Path, capsys) -> None:
    assert ordinal("sweep", "counting", "--members", "2", "--runs", tmp_path) == 2
    assert "at least 3" in one_line(capsys)


def test_a_sweep_from_the_grid_to_the_recommendation(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("COLUMNS", "80")
    config = tmp_path / "quick.yaml"
    quick = {"model": "counting", "tokens": {"numbers": [0, 100]}, "sae": {"workers": 1}}
    config.write_text(yaml.safe_dump(quick))
    words = ["sweep", config, "--sparsity", "1", "4", "--latents", "32", "--members", "5"]
    words += ["--set", "sae.steps=200", "--runs", tmp_path / "runs"]
    assert ordinal(*words, "--json") == 0
    rows = pd.DataFrame(json.loads(capsys.readouterr().out)["frontier"])
    assert list(rows["cell"]) == ["l1=1-latents=32", "l1=4-latents=32"]
    assert rows["recommended"].sum() == 1
    assert rows["l0"].is_monotonic_decreasing
    assert rows["fvu_held_out"].is_monotonic_increasing
    assert (rows["preserved_low"] <= rows["preserved"]).all()
    assert (rows["preserved"] <= rows["preserved_high"]).all()
    assert (rows["n_tokens"] > 100).all()

    folder = tmp_path / "runs" / "quick-steps=200-sweep"
    members = pd.read_parquet(folder / "members.parquet")
    assert len(members) == 2 * 5
    reported = members[members["split"] == "report"].groupby("cell")["l0"].mean()
    assert rows.set_index("cell")["l0"].to_dict() == pytest.approx(reported.to_dict())

    cell = existing_run(folder / "l1=4-latents=32")
    assert len(cell.ensemble) == 5
    page = (folder / "frontier.html").read_text()
    assert "l1=4-latents=32" in page
    assert "http-equiv" in page

    kept = folder / "l1=1-latents=32" / "saes"
    (cell.folder / "activations.safetensors").unlink()
    before = kept.stat().st_mtime_ns
    assert ordinal(*words) == 0
    out, _ = capsys.readouterr()
    assert kept.stat().st_mtime_ns == before
    assert cell.done("train")
    again = pd.read_parquet(folder / "frontier.parquet")
    pd.testing.assert_frame_equal(again, rows, check_dtype=False)
    short = [line for line in out.splitlines() if str(tmp_path) not in line]
    assert max(map(len, short)) <= 80
    assert "agrees: " in out
    assert "--set sae.steps=200 sae.l1=" in out
