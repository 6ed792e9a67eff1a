"""The whole way, on a checkpoint whose truth is known; and what survives interruption."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from datasets import load_from_disk

import ordinal
from lm.errors import OrdinalError, UsageError
from ordinal import steps
from ordinal.run_folder import OUTPUTS, Run, existing_run, open_run
from ordinal.steps.fitting import train_on
from tests.ordinal.conftest import quick_config


def claims(run: Run) -> pd.DataFrame:
    return pd.DataFrame(run.read_json("summary.json")["claims"]).set_index("claim")


def test_the_planted_head_features_and_edits_are_found(finished: Run, planted) -> None:
    _, truth = planted
    assert (finished.head.layer, finished.head.head) == (truth.layer, truth.head)
    found = claims(finished)
    assert found.loc[f"L{truth.layer}H{truth.head} successor head", "verdict"] == "supported"
    assert found.loc["W_E + M(t), no head", "verdict"] == "supported"
    assert found.loc["edit numbers, class means", "value"] > 0.9
    assert found.loc["edit numbers, SAE", "value"] > 0.9
    ablation = finished.table("ablation")
    ablation = ablation[ablation["ablation"] == "mean"].set_index(["directions", "removed"])
    for source in ("SAE", "class means"):
        random = ablation.loc[(source, "random, variance matched"), "ratio"]
        assert ablation.loc[(source, "mod-10"), "ratio_high"] < random
    best = finished.ensemble.members[0].W_dec @ (truth.residues - truth.residues.mean(0)).T
    norms = (truth.residues - truth.residues.mean(0)).norm(dim=1)
    assert ((best / norms).amax(0) > 0.8).sum() >= 8


def test_every_claim_has_its_control_interval_and_n(finished: Run) -> None:
    drawn_up = claims(finished)
    tested = drawn_up[drawn_up["verdict"] != "not testable"]
    assert len(tested) > 30
    for _, row in drawn_up.drop(tested.index).iterrows():
        assert row["control"]
        assert row["n"] == 0
    for _, row in tested.iterrows():
        assert row["verdict"] in ("supported", "not supported", "inconclusive")
        assert row["low"] <= row["value"] <= row["high"]
        assert row["control"]
        assert row["n"] > 0


def test_a_run_folder_is_readable_without_this_project(finished: Run) -> None:
    folder = finished.folder
    assert yaml.safe_load((folder / "config.yaml").read_text())["model"]
    assert load_from_disk(str(folder / "tokens")).num_rows == len(finished.activations.tokens)
    features = pd.read_parquet(folder / "features.parquet")
    assert len(features) == 5 * 48
    assert (folder / "metrics.jsonl").read_text().count("\n") > 5
    json.loads((folder / "summary.json").read_text())
    assert not list(folder.rglob("*.pkl")) + list(folder.rglob("*.pt"))


def test_a_finished_run_computes_nothing_again(finished: Run, capsys) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.folder.rglob("*") if p.is_file()}
    assert steps.run_missing(finished) == []
    assert before == {p: p.stat().st_mtime_ns for p in finished.folder.rglob("*") if p.is_file()}


def test_the_same_config_gives_the_same_figures(finished: Run, tmp_path: Path) -> None:
    again = ordinal.run(finished.folder.parent.parent / "quick.yaml", runs=tmp_path)
    for name in ("summary.json", "metrics.jsonl", "vectors.safetensors", "activations.safetensors"):
        assert (again.folder / name).read_bytes() == (finished.folder / name).read_bytes(), name


@pytest.fixture
def copy(finished: Run, tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(finished.folder, tmp_path / "run")), finished.config)


def test_a_step_that_is_missing_is_named_and_run_fills_the_gap(copy: Run) -> None:
    (copy.folder / "features.parquet").unlink()
    with pytest.raises(OrdinalError, match=r"features\.parquet: type `ordinal features"):
        steps.run_step(copy, "verify")
    assert steps.run_missing(copy) == ["features", "verify", "report"]
    assert all(copy.done(step) for step in OUTPUTS)


def test_training_again_forgets_what_was_made_of_the_old_saes(copy: Run) -> None:
    before = copy.ensemble
    train_on(copy, copy.activations)
    assert copy.ensemble is not before
    assert copy.done("heads")
    assert not any(copy.done(step) for step in ("features", "verify", "report"))


def test_an_interrupted_step_leaves_the_run_usable(copy: Run, monkeypatch) -> None:
    import eval.patching.edits

    def stop(*_, **__) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(eval.patching.edits, "operator_edits", stop)
    (copy.folder / "summary.json").unlink()
    with pytest.raises(KeyboardInterrupt):
        steps.run_missing(copy)
    assert not list(copy.folder.rglob("*.partial"))
    monkeypatch.undo()
    assert steps.run_missing(copy) == ["verify", "report"]


def test_another_config_is_refused_with_the_difference(
    planted, tmp_path: Path, finished: Run
) -> None:
    other = tmp_path / "quick.yaml"
    other.write_text(yaml.safe_dump(quick_config(planted[0], seed=1)))
    with pytest.raises(UsageError, match="seed: 0 there, 1 here"):
        open_run(other, finished.folder.parent)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run folder"):
        existing_run(tmp_path)


def test_a_changed_model_is_not_mixed_with_old_activations(copy: Run, tmp_path: Path) -> None:
    changed = tmp_path / "model"
    shutil.copytree(copy.config.model, changed)
    config = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps(config | {"note": "other"}))
    moved = Run(copy.folder, copy.config.model_copy(update={"model": str(changed)}))
    with pytest.raises(OrdinalError, match="was trained on"):
        steps.run_step(moved, "verify")


def test_vectors_come_back_with_their_evidence(copy: Run, planted) -> None:
    from ordinal.export.vectors import export_vectors

    vectors = ordinal.load_vectors(export_vectors(copy))
    assert {f"mod10/{r}" for r in range(10)} | {"ordinal/numbers", "ordinal/shared"} <= set(
        vectors.vectors
    )
    assert np.isclose(vectors["mod10/3"].norm(), 1, atol=1e-4)
    evidence = vectors.metadata["evidence"]["mod10/3"]
    assert {"precision", "recall", "q_value", "edit_success"} <= set(evidence)
    assert vectors.metadata["head"] == [planted[1].layer, planted[1].head]


def test_the_exported_scale_edits_the_real_model(copy: Run, planted) -> None:
    """In plain transformers: M(5) + k (f_8 - f_5) makes the planted head say 9."""
    from transformers import AutoModelForCausalLM

    from ordinal.export.vectors import export_vectors

    vectors = ordinal.load_vectors(export_vectors(copy))
    folder, truth = planted
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    table = copy.activations.tokens.table.drop_duplicates("text").set_index("text")["token_id"]
    delta = vectors.metadata["scale"] * (vectors["mod10/8"] - vectors["mod10/5"])
    block = model.transformer.h[0].mlp
    hook = block.register_forward_hook(lambda _m, _i, out: out + delta)
    attention = model.transformer.h[truth.layer].attn.c_proj
    seen: list[torch.Tensor] = []
    look = attention.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    with torch.no_grad():
        model(torch.tensor([[int(table[" five"])]]))
    hook.remove()
    look.remove()
    d_head = model.config.n_embd // model.config.n_head
    part = slice(truth.head * d_head, (truth.head + 1) * d_head)
    written = seen[0][0, -1, part] @ attention.weight[part]
    words = [text for text in table.index if text.startswith(" ") and text[1:].islower()]
    rows = model.lm_head.weight[torch.tensor(table[words].to_numpy())]
    numbers = {" six", " seven", " eight", " nine", " ten", " five", " four"}
    ranked = [words[i] for i in (rows @ written).argsort(descending=True)]
    assert next(word for word in ranked if word in numbers) == " nine"
