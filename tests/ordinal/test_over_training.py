"""Succession over training: a planted head and planted residues that grow out of random weights."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from eval.heads import over_training as measuring
from eval.heads.successor import head_table, scored_tokens
from features.cards.shown import with_interval
from lm.errors import OrdinalError, UsageError
from lm.open import open_model
from lm.ordinals import load_tasks, ordinal_tokens
from lm.planted import PlantedTruth
from ordinal.api import over_training
from ordinal.checkpoint_series import checkpoint_series
from ordinal.checkpoint_study import OverTraining, study_checkpoints
from ordinal.figures.over_training import curves_over_training
from ordinal.printed.over_training import lines
from tests.checkpoints import save_checkpoint
from tests.ordinal.test_cli import one_line, ordinal
from training.harvest import harvest

STEPS = {"step0": 0.0, "step500": 1 / 3, "step1000": 2 / 3, "step1500": 1.0}
"""How much of the planted weights each checkpoint has; the rest is random."""


@pytest.fixture(scope="module")
def trained(planted: tuple[Path, PlantedTruth], tmp_path_factory) -> Path:
    """A folder of checkpoints, from random weights to the planted ones. Do not write to it."""
    source, _ = planted
    folder = tmp_path_factory.mktemp("trained") / "toy"
    weights = load_file(source / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    random = {
        name: torch.ones_like(weight)
        if "ln_" in name and name.endswith("weight")
        else 0.02 * torch.randn(weight.shape, generator=generator)
        for name, weight in weights.items()
    }
    for step, share in STEPS.items():
        shutil.copytree(source, folder / step)
        mixed = {name: torch.lerp(random[name], weights[name], share) for name in weights}
        save_file(mixed, folder / step / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def studied(trained: Path, tmp_path_factory) -> OverTraining:
    """Do not write to its folder."""
    return study_checkpoints(checkpoint_series([str(trained)]), tmp_path_factory.mktemp("study"))


def test_the_planted_head_and_residues_rise_from_chance_to_what_was_planted(
    studied: OverTraining, planted: tuple[Path, PlantedTruth]
) -> None:
    table, truth = studied.table, planted[1]
    assert list(table["label"]) == list(STEPS)
    assert set(table["fixed_layer"]) == {truth.layer} and set(table["fixed_head"]) == {truth.head}
    for measure in ("fixed_score", "probe", "edits", "power"):
        assert table[measure].is_monotonic_increasing, measure
    first, last = table.iloc[0], table.iloc[-1]
    assert first["fixed_score_low"] <= first["chance"] < 0.15
    assert first["probe"] < first["probe_permuted_95"]
    assert first["power"] < 2 * first["power_permuted_95"]
    assert first["edits_low"] <= first["edits_random_high"]
    for measure in ("fixed_score", "probe", "edits"):
        assert last[measure] > 0.99
    assert last["power"] > 5 * last["power_permuted_95"]
    # Nothing else takes part in it: other heads, the readout without one, permuted residues.
    for control in ("runner_up", "without_head", "probe_permuted", "edits_random"):
        assert table[control].max() < 0.2, control


@pytest.mark.parametrize("step", ["step0", "step1500"])
def test_the_ends_are_what_the_scan_of_heads_gives(
    studied: OverTraining, trained: Path, step: str
) -> None:
    model = open_model(str(trained / step))
    tokens = ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 500)))
    scored = scored_tokens(tokens, (1, 200))
    _, choice = head_table(model, scored, harvest(model, scored).x)
    row = studied.table.set_index("label").loc[step]
    assert (row["layer"], row["head"]) == (choice.layer, choice.head)
    assert tuple(row[["score", "score_low", "score_high", "n_tokens"]]) == pytest.approx(
        (choice.score, choice.low, choice.high, choice.n_tokens)
    )
    if step == "step1500":
        fixed = row[["fixed_score", "fixed_score_low", "fixed_score_high"]]
        assert tuple(fixed) == pytest.approx((choice.score, choice.low, choice.high))


def test_one_head_scores_what_the_scan_scores_it(trained: Path) -> None:
    """The best and the second head of a half, whose scores the choice also gives."""
    model = open_model(str(trained / "step1000"))
    tokens = ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 199)))
    m = harvest(model, tokens).x
    _, choice = head_table(model, tokens, m, seed=3)
    second = measuring.Head(choice.runner_up_layer, choice.runner_up_head)
    score = measuring.head_score(model, tokens, m, second, seed=3)
    assert (score.value, score.n_tokens) == pytest.approx((choice.runner_up_score, choice.n_tokens))
    assert score.low <= score.value <= score.high


def test_the_lines_say_from_where_on(studied: OverTraining) -> None:
    head, probe, edits = lines(studied.table)
    assert head.startswith("L1H") and "above guessing from step500 on" in head
    assert "above its controls from step500 on" in probe
    assert "above that of random vectors from step500 on" in edits
    untrained = studied.table.iloc[:1]
    assert "At the last, its interval is not above guessing." in lines(untrained)[0]


def count_measurements(monkeypatch, stop_after: int | None = None) -> list[str]:
    """Names of the models that are measured from now on; the one after `stop_after` is stopped."""
    measured: list[str] = []
    measure = measuring.measure_checkpoint

    def counted(model, *rest, **settings):
        if len(measured) == stop_after:
            raise KeyboardInterrupt
        measured.append(Path(model.info.name).name)
        return measure(model, *rest, **settings)

    monkeypatch.setattr(measuring, "measure_checkpoint", counted)
    return measured


def test_a_stopped_study_goes_on_and_a_finished_one_measures_nothing(
    trained: Path, studied: OverTraining, tmp_path: Path, monkeypatch, capsys
) -> None:
    command = ("checkpoints", trained, "--out", tmp_path)
    with monkeypatch.context() as patch:
        assert count_measurements(patch, stop_after=2) == []
        assert ordinal(*command) == 130
    kept = pd.read_parquet(tmp_path / "checkpoints.parquet")
    assert list(kept["label"]) == ["step0", "step1500"]  # the last chooses the head
    measured = count_measurements(monkeypatch)
    capsys.readouterr()
    assert ordinal(*command, "--json") == 0
    assert measured == ["step500", "step1000"]
    rows = pd.DataFrame(json.loads(capsys.readouterr().out)["checkpoints"])
    whole = studied.table.drop(columns="version")
    pd.testing.assert_frame_equal(rows[list(whole)], whole, check_dtype=False)
    written = (tmp_path / "checkpoints.parquet").stat().st_mtime_ns
    assert ordinal(*command) == 0
    assert measured == ["step500", "step1000"]
    assert (tmp_path / "checkpoints.parquet").stat().st_mtime_ns == written


def test_only_weights_that_were_written_again_are_measured_again(
    trained: Path, tmp_path: Path, monkeypatch
) -> None:
    """Their size and headers are what they were: only the time tells."""
    mine = [Path(shutil.copytree(trained / step, tmp_path / step)) for step in list(STEPS)[2:]]
    measured = count_measurements(monkeypatch)
    series = checkpoint_series([str(folder) for folder in mine])
    study_checkpoints(series, tmp_path / "out")
    weights = mine[0] / "model.safetensors"
    weights.unlink()
    weights.write_bytes((trained / "step0" / "model.safetensors").read_bytes())
    again = study_checkpoints(series, tmp_path / "out").table
    assert measured == ["step1500", "step1000", "step1000"]
    assert again["fixed_score"].iloc[0] < 0.2 < again["fixed_score"].iloc[1]


def test_it_is_printed_and_drawn(trained: Path, studied: OverTraining, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert ordinal("checkpoints", trained, "--out", studied.folder) == 0
    printed = capsys.readouterr().out
    shown = [line for line in printed.splitlines() if str(studied.folder) not in line]
    assert max(map(len, shown)) <= 80
    assert "checkpoints.html" in printed and "checkpoints.parquet" in printed
    ends = ("", "_low", "_high")
    for row in studied.table.to_dict("records"):
        succession, residues = (line for line in shown if line.startswith(f"  {row['label']}  "))
        for measure in ("fixed_score", "probe", "edits"):
            line = succession if measure == "fixed_score" else residues
            assert with_interval(*(row[measure + end] for end in ends)) in line
    page = (studied.folder / "checkpoints.html").read_text()
    assert page.count('class="plot"') == 1 and page.count("<table>") == 2
    again = over_training(trained, out=studied.folder)
    pd.testing.assert_frame_equal(again, studied.table)


def test_what_is_drawn_are_the_table_s_values_with_their_controls(studied: OverTraining) -> None:
    figure = curves_over_training(studied.table, studied.series.positions, "step")
    drawn = {trace.name: trace for trace in figure.data}
    np.testing.assert_array_equal(drawn["probe"].x, [0, 500, 1000, 1500])
    for name, column in {"probe": "probe", "edits": "edits", "best head there": "score"}.items():
        np.testing.assert_array_equal(drawn[name].y, studied.table[column])
        high = np.asarray(drawn[name].y) + np.asarray(drawn[name].error_y.array)
        np.testing.assert_allclose(high, studied.table[f"{column}_high"])
    controls = {"guessing": "chance", "no head": "without_head", "next head": "runner_up"}
    controls |= {"probe, permuted": "probe_permuted_95", "random edits": "edits_random"}
    for name, column in controls.items():
        np.testing.assert_array_equal(drawn[name].y, studied.table[column])
    unread = studied.table.assign(probe=np.nan)
    assert len(curves_over_training(unread, studied.series.positions, "step").data) == 5


def test_steps_over_orders_of_magnitude_are_drawn_on_a_logarithmic_axis(
    studied: OverTraining,
) -> None:
    figure = curves_over_training(studied.table, [0, 1, 64, 143_000], "step")
    axis = figure.layout.xaxis2
    assert axis.type == "log"
    assert axis.ticktext[:2] == ("0", "1") and axis.ticktext[-1] == "100,000"
    zero, *others = figure.data[0].x
    assert zero == axis.tickvals[0] < 1
    assert others == [1, 64, 143_000]


def test_numbers_that_are_no_single_tokens_are_left_out_with_the_reason(
    tmp_path: Path, capsys
) -> None:
    """Numbers to 60 alone are tokens: too few for a residue."""
    for step in ("step1", "step2"):
        save_checkpoint(tmp_path / "few" / step, "gpt2")
    assert ordinal("checkpoints", tmp_path / "few", "--out", tmp_path / "out", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["checkpoints"]
    assert all(row["probe"] is None and row["edits"] is None for row in rows)
    assert all("modulus 10 is not testable" in row["not_testable"] for row in rows)
    assert np.isfinite([row["fixed_score"] for row in rows]).all()
    assert ordinal("checkpoints", tmp_path / "few", "--out", tmp_path / "out") == 0
    assert "Residues modulo 10: modulus 10 is not testable" in capsys.readouterr().out
    assert "Not testable." in (tmp_path / "out" / "checkpoints.html").read_text()


def test_what_is_no_checkpoint_is_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    out = ("--out", tmp_path / "out")
    assert ordinal("checkpoints", *out) == 2
    assert "No checkpoints were given" in one_line(capsys)
    assert ordinal("checkpoints", tmp_path, *out) == 2
    assert f"{tmp_path} holds no checkpoints" in one_line(capsys)
    assert ordinal("checkpoints", tmp_path / "nothing", *out) == 2
    assert "there is no such folder" in one_line(capsys)
    (tmp_path / "step1").mkdir()
    (tmp_path / "step1" / "config.json").write_text('{"model_type": "gpt2"}')
    assert ordinal("checkpoints", tmp_path, *out) == 1
    assert "no weights to read" in one_line(capsys)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_model_or_tokenizer_is_named(trained: Path, tmp_path: Path) -> None:
    other = save_checkpoint(tmp_path / "step3", "gpt2")
    series = checkpoint_series([str(other), str(trained / "step1500")])
    with pytest.raises(UsageError, match="step3 is no checkpoint of the same training"):
        study_checkpoints(series, tmp_path / "out")

    renamed = Path(shutil.copytree(trained / "step500", tmp_path / "step500"))
    tokenizer = json.loads((renamed / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    words["12"], words["13"] = words["13"], words["12"]
    (renamed / "tokenizer.json").write_text(json.dumps(tokenizer))
    series = checkpoint_series([str(renamed), str(trained / "step1500")])
    with pytest.raises(OrdinalError, match="step500 has another tokenizer than") as caught:
        study_checkpoints(series, tmp_path / "out")
    assert "\n" not in str(caught.value)
    kept = pd.read_parquet(tmp_path / "out" / "checkpoints.parquet")
    assert list(kept["label"]) == ["step1500"]
