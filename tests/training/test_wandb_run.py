"""A wandb run goes on after a kill, is uploaded whole, and runs in a sweep."""

import logging
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ordinal.config import SHIPPED, RunConfig
from tests.training.offline import metrics, no_account, offline_files, record  # noqa: F401
from training.tracking import CURVES, QUANTILES, Tracker, log_artifacts

ROOT = Path(__file__).parents[2]
KILLED = """
import sys, time
from tests.training.offline import metrics
from training.tracking import Tracker

with Tracker(sys.argv[1], name="toy", config={}) as tracker:
    for step in range(int(sys.argv[2])):
        tracker.log(metrics(step))
    print("there", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("reached", "on_disk"), [(3, 7), (400, 4 * 32768)], ids=["in memory", "partly on disk"]
)
def test_a_killed_run_goes_on_and_no_step_is_recorded_twice(
    tmp_path, monkeypatch, reached, on_disk
):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), str(reached)],
        stdout=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == b"there\n"
    (killed,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    while killed.stat().st_size < on_disk:  # wandb writes full blocks, and the rest in 15 seconds
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run_id = killed.stem.removeprefix("run-")
    record(folder, range(500), resume=True)

    files = offline_files(folder, 1)
    assert {file.run.run_id for file in files} == {run_id}
    steps = [step for file in files for step in sorted(file.history)]
    assert steps == list(range(501))  # 500 is the table's
    assert len(files) == (1 if reached == 3 else 2)
    # `wandb sync` reads no further than a file without a record, or half a record.
    assert all(path.stat().st_size > 7 for path in folder.glob("wandb/offline-run-*/*.wandb"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    record(tmp_path / "unbroken", range(500))
    resumed, unbroken = (tmp_path / name / "metrics.jsonl" for name in ("run", "unbroken"))
    assert resumed.read_bytes() == unbroken.read_bytes()


def test_a_run_that_failed_goes_on(tmp_path):
    with (
        pytest.raises(KeyError),
        Tracker(tmp_path, name="toy", config={}, say=lambda line: None) as tracker,
    ):
        tracker.log(metrics(0))
        raise KeyError("mine")
    record(tmp_path, range(3), resume=True)
    failed, resumed = offline_files(tmp_path, 2)
    assert failed.run.run_id == resumed.run.run_id
    assert (list(failed.history), list(resumed.history)) == ([0], [1, 2, 3])


def test_a_run_that_goes_on_after_its_end_gains_nothing_and_a_new_training_is_a_new_run(tmp_path):
    record(tmp_path, member_runs=True)
    offline_files(tmp_path, 4)
    record(tmp_path, member_runs=True, resume=True)
    files = offline_files(tmp_path, 8)
    steps = defaultdict(list)
    for file in files:
        steps[file.run.run_id] += file.history
    assert len(steps) == 4 and all(len(set(s)) == len(s) for s in steps.values())
    record(tmp_path)
    assert offline_files(tmp_path, 9)[-1].run.run_id not in steps


def test_the_id_that_an_agent_gives_goes_first(tmp_path, monkeypatch):
    record(tmp_path)
    monkeypatch.setenv("WANDB_RUN_ID", "given")
    record(tmp_path, resume=True)
    (first, given) = offline_files(tmp_path, 2)
    assert first.run.run_id != "given" == given.run.run_id
    assert set(given.history) == set(first.history)


def test_the_printed_command_uploads_every_part_of_the_run(tmp_path):
    (line,) = record(tmp_path / "a run")
    log_artifacts(tmp_path / "a run", "toy", {"report": [Path(__file__)]})
    offline_files(tmp_path / "a run", 2)
    command = line.split("to upload: ")[1]
    wandb = Path(sys.executable).parent / "wandb"
    dry = subprocess.run(
        f"{command.replace('wandb', str(wandb), 1)} --dry-run",
        shell=True, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert "Would sync 2 run(s)" in dry.stderr


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("sweeps/*.yaml")), ids=lambda path: path.stem)
def test_the_agent_of_a_sweep_runs_a_command_whose_keys_are_settings(path, tmp_path, monkeypatch):
    """By wandb's own agent, with the first value of each parameter."""
    from wandb import wandb_agent

    sweep = yaml.safe_load(path.read_text())
    curve, quantile = sweep["metric"]["name"].split("/")
    assert curve in CURVES and quantile in QUANTILES
    values = {
        k: p["values"][0] if "values" in p else p["min"] for k, p in sweep["parameters"].items()
    }
    assert (SHIPPED / f"{sweep['command'][2]}.yaml").exists()

    started: list[list[str]] = []
    monkeypatch.setattr(
        wandb_agent,
        "AgentProcess",
        lambda command, **_: started.append(command) or SimpleNamespace(),
    )
    for name in ("WANDB_DIR", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(logging.getLogger("wandb.wandb_agent"), "disabled", True)
    agent = wandb_agent.Agent(api=None, queue=None)
    agent._sweep_command = sweep["command"]
    trial = {"type": "run", "run_id": "r", "program": sweep["program"]}
    agent._process_command({**trial, "args": {k: {"value": v} for k, v in values.items()}})

    ((*verb, flag), settings) = started[0][:4], started[0][4:]
    assert (verb, flag) == (["ordinal", "train", path.stem], "--set")
    assert settings[-len(values) :] == [f"{key}={value}" for key, value in values.items()]
    raw: dict[str, Any] = {"model": "counting"}
    for setting in settings:
        key, _, value = setting.partition("=")
        section, name = key.split(".")
        raw.setdefault(section, {})[name] = yaml.safe_load(value)
    RunConfig.model_validate(raw)
