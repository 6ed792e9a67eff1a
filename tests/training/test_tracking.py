"""The record of a training can be read back, and never stands in the way of the training."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.training.offline import STEPS, metrics, no_account, offline_files, record  # noqa: F401
from training.metrics import MemberMetrics
from training.tracking import Tracker, log_artifacts


def test_curves_the_members_and_the_config_can_be_read_back(tmp_path):
    said = record(tmp_path / "run")
    (file,) = offline_files(tmp_path / "run", 1)
    assert sorted(file.history) == [*STEPS, 51]
    assert file.history[20]["loss/median"] == pytest.approx(1 / 21 + 1)
    assert file.history[51]["members/nrows"] == 3
    assert file.run.run_group == "toy" and file.run.job_type == "ensemble"
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    assert file.config["seed"] == 7
    if head.returncode == 0:
        assert file.config["git_revision"] == head.stdout.strip()
        assert file.config["git_dirty"] in (True, False)
    assert said == [f"wandb recorded offline; to upload: wandb sync {tmp_path}/run/wandb"]
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("given", [None, pd.DataFrame({"member": [0, 1, 2], "seed": [5, 6, 7]})])
def test_the_table_has_every_member(tmp_path, given):
    with Tracker(tmp_path, name="toy", config={}, say=lambda line: None) as tracker:
        tracker.log(metrics(10))
        tracker.log(metrics(20)[:2])  # the third had stopped
        if given is not None:
            tracker.log_members(given)
    (table,) = tmp_path.glob("wandb/offline-run-*/files/media/table/*.json")
    content = json.loads(table.read_text())
    if given is None:
        assert content["columns"] == list(MemberMetrics._fields)
        assert [row[:2] for row in content["data"]] == [[0, 20], [1, 20], [2, 10]]
    else:
        assert content["columns"] == ["member", "seed"]
        assert content["data"] == [[0, 5], [1, 6], [2, 7]]


def test_artifacts_join_the_run_while_it_lasts_and_later(tmp_path, capfd):
    folder, said = tmp_path / "run", []
    for member in ("000", "001"):
        (folder / "saes" / member).mkdir(parents=True)
        (folder / "saes" / member / "cfg.json").write_text(member)
    (folder / "report.html").write_text("<html>")
    with Tracker(folder, name="a toy", config={"seed": 7}, say=said.append) as tracker:
        tracker.log(metrics(10))
        tracker.log_artifact("saes", folder / "saes")
    log_artifacts(folder, "a toy", {"report": [folder / "report.html"]}, say=said.append)
    (folder / "report.html").write_text("another")
    trained, later = offline_files(folder, 2)
    assert trained.run.run_id == later.run.run_id and not later.history
    inside = {e.path: e for e in trained.artifacts["saes"].manifest.contents}
    assert sorted(inside) == ["000/cfg.json", "001/cfg.json"]
    assert trained.artifacts["saes"].name == "a-toy-saes"
    (report,) = later.artifacts["report"].manifest.contents
    assert report.path == "report.html" and Path(report.local_path).read_text() == "<html>"
    assert Path(report.local_path).is_relative_to(folder)
    assert not (tmp_path / "home").exists() and len(said) == 1
    assert capfd.readouterr() == ("", "")


def test_each_member_has_a_run_in_the_group_on_request(tmp_path):
    record(tmp_path, member_runs=True)
    ensemble, *members = offline_files(tmp_path, 4)
    assert [file.run.display_name for file in members] == ["toy/000", "toy/001", "toy/002"]
    assert {file.run.job_type for file in members} == {"member"}
    assert {file.run.run_group for file in members} == {ensemble.run.run_group} == {"toy"}
    for number, file in enumerate(members):
        assert sorted(file.history) == list(STEPS)
        assert all(row["loss"] == 1 / (1 + step) + number for step, row in file.history.items())
        assert "fvu_held_out" not in file.history[10]


def test_the_figures_are_the_same_in_two_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    for name in ("a", "b"):
        record(tmp_path / name)
    a, b = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("a", "b"))
    assert a == b
    rows = [json.loads(line) for line in a.splitlines()]
    assert [row["step"] for row in rows if "member" not in row] == list(STEPS)
    assert sum("member" in row for row in rows) == 3 * len(STEPS)


class Broken:
    offline, id = True, "broken"

    def __getattr__(self, name):
        raise ConnectionError("no\nserver")


@pytest.mark.parametrize("module", ["missing", "broken"])
def test_a_broken_wandb_is_one_line_and_no_figure_is_lost(tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, "wandb", None if module == "missing" else Broken())
    said = record(tmp_path, member_runs=True)
    assert len(said) == 1 and said[0].startswith("Warning: wandb failed") and "\n" not in said[0]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4 * len(STEPS)
    log_artifacts(tmp_path, "toy", {"report": [Path(__file__)]}, say=said.append)
    assert len(said) == 2 and said[1].endswith("report not logged.")


def test_a_wandb_that_breaks_midway_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    said = []
    with Tracker(tmp_path, name="toy", config={}, say=said.append) as tracker:
        tracker.log(metrics(10))
        tracker._run = Broken()  # pyright: ignore
        tracker.log(metrics(20))
        tracker.log_artifact("saes", tmp_path)
        tracker.log(metrics(30))
    assert len(said) == 1
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 12


def test_an_artifact_or_a_members_run_that_fails_leaves_the_rest(tmp_path, monkeypatch):
    said = []
    with Tracker(tmp_path, name="toy", config={}, member_runs=True, say=said.append) as tracker:
        tracker.log(metrics(10))
        tracker.log_artifact("saes", tmp_path / "nowhere")
        tracker.log(metrics(20))
        monkeypatch.setattr(tracker, "_open", Broken().__getattr__)
    (file,) = offline_files(tmp_path, 1)
    assert sorted(file.history) == [10, 20, 21]
    artifact, upload, members = said
    assert artifact.endswith("saes not logged.") and "wandb sync" in upload
    assert members.endswith("not every member has a run of its own.")


def test_a_folder_without_a_run_gets_none_and_a_damaged_one_is_a_line(tmp_path):
    said = []
    log_artifacts(tmp_path, "toy", {"report": [Path(__file__)]}, say=said.append)
    assert not said and not list(tmp_path.iterdir())
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "run.json").write_text("{")
    log_artifacts(tmp_path, "toy", {"report": [Path(__file__)]}, say=said.append)
    assert len(said) == 1


def test_what_fails_in_the_training_is_not_swallowed(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with (
        pytest.raises(KeyError),
        Tracker(tmp_path, name="toy", config={}, say=lambda line: None) as tracker,
    ):
        tracker.log(metrics(10))
        raise KeyError("mine")
