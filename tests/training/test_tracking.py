"""The record of a run can be read back, and never stands in the way of the run."""

import json
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from training.member import MemberMetrics
from training.tracking import Tracker

STEPS = range(10, 60, 10)


def metrics(step: int) -> list[MemberMetrics]:
    return [MemberMetrics(i, step, 1 / step + i, 0.5, None, 3.0, 0) for i in range(3)]


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


def record(folder: Path, said: list[str]) -> None:
    with Tracker(folder, name="toy", config={"seed": 7}, say=said.append) as tracker:
        for step in STEPS:
            tracker.log(metrics(step))


def records(path: Path) -> Iterator[bytes]:
    """The records of an offline file: LevelDB's log format after seven bytes of header."""
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    at, record = 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def test_the_offline_run_can_be_read_back(tmp_path):
    from wandb.proto import wandb_internal_pb2

    said = []
    record(tmp_path / "run", said)
    (path,) = tmp_path.glob("run/wandb/offline-run-*/*.wandb")
    # wandb's own process writes the file, up to some milliseconds after `finish` has returned.
    deadline = time.monotonic() + 20
    kind = None
    while kind != "exit":
        assert time.monotonic() < deadline
        time.sleep(0.02)
        found = [wandb_internal_pb2.Record.FromString(data) for data in records(path)]
        kind = found[-1].WhichOneof("record_type") if found else None
    history, config = {}, {}
    for parsed in found:
        for item in parsed.history.item:
            key = item.key or "/".join(item.nested_key)
            history.setdefault(parsed.history.step.num, {})[key] = json.loads(item.value_json)
        for item in parsed.run.config.update:
            config[item.key] = json.loads(item.value_json)
    assert sorted(history) == list(STEPS)
    assert history[20]["loss/median"] == pytest.approx(1 / 20 + 1)
    assert history[50]["members/nrows"] == 3
    assert config["seed"] == 7 and "git_revision" in config
    assert said == [f"wandb recorded offline; to upload: wandb sync {path.parent}"]
    assert not (tmp_path / "home").exists()


def test_the_figures_are_the_same_in_two_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    for name in ("a", "b"):
        record(tmp_path / name, [])
    a, b = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("a", "b"))
    assert a == b
    rows = [json.loads(line) for line in a.splitlines()]
    assert [row["step"] for row in rows if "member" not in row] == list(STEPS)
    assert sum("member" in row for row in rows) == 3 * len(STEPS)


class Broken:
    def __getattr__(self, name):
        raise ConnectionError("no\nserver")


@pytest.mark.parametrize("module", ["missing", "broken"])
def test_a_broken_wandb_is_one_line_and_no_figure_is_lost(tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, "wandb", None if module == "missing" else Broken())
    said = []
    record(tmp_path, said)
    assert len(said) == 1 and said[0].startswith("Warning: wandb failed") and "\n" not in said[0]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4 * len(STEPS)


def test_a_wandb_that_breaks_midway_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    said = []
    with Tracker(tmp_path, name="toy", config={}, say=said.append) as tracker:
        tracker.log(metrics(10))
        tracker._run = Broken()
        tracker.log(metrics(20))
        tracker.log(metrics(30))
    assert len(said) == 1
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 12


def test_what_fails_in_the_training_is_not_swallowed(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with (
        pytest.raises(KeyError),
        Tracker(tmp_path, name="toy", config={}, say=lambda line: None) as tracker,
    ):
        tracker.log(metrics(10))
        raise KeyError("mine")
