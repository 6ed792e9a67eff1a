"""A toy training that is tracked, and a reader of what wandb recorded of it offline."""

import json
import os
import struct
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from training.metrics import MemberMetrics
from training.tracking import Tracker

STEPS = range(10, 60, 10)


def metrics(step: int) -> list[MemberMetrics]:
    return [MemberMetrics(i, step, 1 / (1 + step) + i, 0.5, None, 3.0, 0) for i in range(3)]


def record(folder: Path, steps: range = STEPS, **settings: Any) -> list[str]:
    """Track a toy training; returns what was said."""
    said: list[str] = []
    with Tracker(folder, name="toy", config={"seed": 7}, say=said.append, **settings) as tracker:
        for step in steps:
            tracker.log(metrics(step))
    return said


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


def records(path: Path) -> tuple[list[bytes], bool]:
    """The records of an offline file, in LevelDB's log format after seven bytes of header, and
    whether the last of them is whole.
    """
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    at, record, found = 7, b"", []
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if at <= len(data) and kind in (1, 4):  # whole, or the last part
            found.append(record)
            record = b""
    return found, not record


def read(path: Path) -> SimpleNamespace:
    """What one offline file says."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore

    found, whole = records(path)
    said = SimpleNamespace(whole=whole, history={}, config={}, artifacts={}, ended=False)
    for one in map(Record.FromString, found):
        kind = one.WhichOneof("record_type")
        if kind == "run":
            said.run = one.run
            said.config = {i.key: json.loads(i.value_json) for i in one.run.config.update}
        elif kind == "history":
            assert one.history.step.num not in said.history
            said.history[one.history.step.num] = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in one.history.item
            }
        elif kind == "artifact":
            said.artifacts[one.artifact.type] = one.artifact
        said.ended |= kind == "exit"
    return said


def offline_files(folder: Path, ended: int) -> list[SimpleNamespace]:
    """All offline files in the order of their making, once so many have an end.

    wandb's own process writes them, up to some milliseconds after `finish` has returned.
    """
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        paths = folder.glob("wandb/offline-run-*/*.wandb")
        found = [read(path) for path in paths if path.stat().st_size > 7]
        if sum(file.ended for file in found) == ended:
            assert all(file.whole for file in found)
            return sorted(found, key=lambda f: (f.run.start_time.seconds, f.run.start_time.nanos))
        time.sleep(0.02)
    raise AssertionError(f"{ended} ends were not written")
