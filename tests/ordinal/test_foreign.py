"""An SAE trained elsewhere goes through everything that our own go through."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from sae_lens import SAE, StandardSAE, StandardSAEConfig

from lm.planted import PlantedTruth
from ordinal import api
from ordinal.run_folder import existing_run
from tests.ordinal.conftest import quick_config
from tests.ordinal.test_cli import one_line, ordinal
from tests.ordinal.test_report import Page

MEANINGLESS = 6


def saelens_folder(folder: Path, truth: PlantedTruth) -> Path:
    """The planted residues and size as SAELens saves them, with decoder rows of all lengths."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(MEANINGLESS, truth.residues.shape[1], generator=generator)
    tasks = torch.stack(list(truth.tasks.values()))
    known = torch.cat([truth.residues, truth.tens, tasks, truth.ordinal[None]])
    noise = torch.nn.functional.normalize(noise - noise @ known.T @ known, dim=1)
    directions = torch.cat([truth.residues, truth.ordinal[None], noise])
    lengths = torch.linspace(0.2, 5, len(directions))
    sae = StandardSAE(StandardSAEConfig(d_in=directions.shape[1], d_sae=len(directions)))
    sae.W_enc.data = (directions.T / lengths).contiguous()
    sae.W_dec.data = directions * lengths[:, None]
    sae.b_enc.data[:10] = -truth.residue_scale / 2 / lengths[:10]
    sae.cfg.metadata.model_name, sae.cfg.metadata.hook_name = "toy", "blocks.0.hook_mlp_out"
    sae.save_model(folder)
    return folder


def check_report(page: str, source: Path) -> None:
    """It says where the SAE comes from, and no more about held-out numbers than is known."""
    words = Page(page).words
    assert "The SAE was trained elsewhere," in words
    assert str(source) in words
    assert "never saw" not in words
    assert "fitted on" not in words
    assert "metrics.jsonl" not in words


@pytest.fixture
def config(planted, tmp_path: Path) -> Path:
    path = tmp_path / "quick.yaml"
    verify = {"random_subspaces": 4, "in_context": False}
    path.write_text(yaml.safe_dump(quick_config(planted[0], verify=verify)))
    return path


def test_the_features_of_a_foreign_sae_are_found_and_verified(
    planted, config: Path, tmp_path: Path, capsys
) -> None:
    truth = planted[1]
    folder = saelens_folder(tmp_path / "theirs", truth)
    command = ("run", config, "--sae", folder, "--runs", tmp_path / "runs")
    assert ordinal(*command) == 0
    out, err = capsys.readouterr()
    assert "maybe on all of these tokens" in out
    said = err.splitlines()
    assert sum("may have seen" in line for line in said) == 1
    assert sum(f"{MEANINGLESS + 11} latents" in line for line in said) == 1

    run = existing_run(tmp_path / "runs" / "quick-theirs")
    assert run.config.pretrained == str(folder)
    assert run.ensemble.pretrained == str(folder)
    kept = SAE.load_from_disk(run.folder / "saes" / "000")
    assert (kept.cfg.metadata.pretrained, kept.cfg.metadata.held_out_fold) == (str(folder), 0)
    assert not (run.folder / "metrics.jsonl").exists()

    features = run.catalog.features.set_index("index")
    for residue in range(10):
        assert features["label"][residue] == f"mod10/{residue}"
    # A random direction reads a little of everything: at most it tells one domain from the others.
    meaningless = features["label"].iloc[11:].str.split("/").str[0]
    assert set(meaningless) <= {"neither", "task", "form"}
    vectors = torch.stack([run.catalog.vectors[f"mod10/{r}"] for r in range(10)])
    torch.testing.assert_close(vectors, truth.residues, atol=1e-5, rtol=1e-5)
    claims = {claim["claim"]: claim for claim in run.read_json("summary.json")["claims"]}
    assert claims["edit numbers, SAE"]["value"] > 0.9
    assert claims["members, 10 residues"]["value"] == 1.0
    for name in ("members, 10 residues", "held-out min(P, R)"):
        assert claims[name]["high"] - claims[name]["low"] > 0.01
    check_report((run.folder / "report.html").read_text(), folder)

    assert ordinal(*command) == 0
    assert "nothing was computed again" in capsys.readouterr().err
    assert api.run(config, sae=str(folder), runs=tmp_path / "runs").folder == run.folder
    assert ordinal("run", run.folder, "--sae", "other") == 2
    assert "give a config" in one_line(capsys)


def test_another_width_is_one_line_and_no_head_is_scored(
    planted, tmp_path: Path, config: Path, capsys
) -> None:
    folder = saelens_folder(tmp_path / "theirs", planted[1])
    command = ("run", "counting", "--sae", folder, "--runs", tmp_path / "runs")
    assert ordinal(*command) == 1
    assert "reads 256 dimensions; the MLP0 outputs of this model have 128" in one_line(capsys)
    run = tmp_path / "runs" / "counting-theirs"
    assert [path.name for path in run.iterdir()] == ["config.yaml"]


def test_another_hook_is_one_line(planted, tmp_path: Path, config: Path, capsys) -> None:
    folder = saelens_folder(tmp_path / "theirs", planted[1])
    written = json.loads((folder / "cfg.json").read_text())
    written["metadata"]["hook_name"] = "blocks.1.hook_mlp_out"
    (folder / "cfg.json").write_text(json.dumps(written))
    assert ordinal("train", config, "--sae", folder, "--runs", tmp_path / "runs") == 1
    assert "reads blocks.1.hook_mlp_out; expected" in one_line(capsys)


@pytest.mark.parametrize("source", ["nowhere", "gpt2-small-mlp:blocks.0.hook_mlp_out"])
def test_an_unknown_sae_is_one_line(source: str, config: Path, tmp_path: Path, capsys) -> None:
    assert ordinal("train", config, "--sae", source, "--runs", tmp_path / "runs") == 2
    assert one_line(capsys).startswith("ordinal: ")
