"""A training that was killed goes on from its checkpoint and ends as if it never had been."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from lm.errors import OrdinalError
from sae.ensemble import SAEEnsemble
from tests.training.made_up import numbers, planted
from tests.training.offline import offline_files
from training.fit import TrainConfig, train

CONFIG = TrainConfig(
    members=3, latents=24, steps=25_000, batch=64, resamples=3, patience=40, workers=2
)
SCRIPT = textwrap.dedent("""
    import sys
    from pathlib import Path
    from ordinal.config import RunConfig
    from ordinal.run_folder import make_run
    from ordinal.steps.fitting import train_on
    from tests.training.made_up import numbers, planted
    from tests.training.test_resume import CONFIG
    run = make_run(Path(sys.argv[1]), RunConfig(model="made-up", sae=CONFIG))
    train_on(run, numbers(planted(300, 32, 16)[0]), checkpoint_every=0.1)
""")


def start(folder: Path) -> subprocess.Popen:
    # Without the service that other tests of this process may have started, which would outlive it.
    environment = {key: v for key, v in os.environ.items() if not key.startswith("WANDB_")}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        env={**environment, "WANDB_MODE": "offline"},
    )


def weights(folder: Path) -> list[dict[str, torch.Tensor]]:
    return [sae.tensors() for sae in SAEEnsemble.load(folder).members]


def newest(folder: Path) -> int:
    """When a checkpoint was last written, in nanoseconds."""
    return max((f.stat().st_mtime_ns for f in folder.glob("checkpoints/*.safetensors")), default=0)


def kill_while_training(folder: Path, after: float) -> None:
    """Start, wait for a new checkpoint and some seconds more, then kill every process of it."""
    before = newest(folder)
    process = start(folder)
    while newest(folder) == before and process.poll() is None:
        time.sleep(0.01)
    time.sleep(after)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_killed_at_ten_random_moments_it_ends_bit_for_bit_the_same(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait() == 0
    chance = random.Random(0)
    for _ in range(10):
        kill_while_training(killed, after=chance.uniform(0, 0.4))
    assert start(killed).wait() == 0
    for a, b in zip(weights(killed), weights(whole), strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)
    for name in ("metrics.jsonl", "activations.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert not (killed / "checkpoints").exists()
    parts, (straight,) = (offline_files(folder, ended=1) for folder in (killed, whole))
    assert len({part.run.run_id for part in parts}) == 1
    steps = [step for part in parts for step in part.history]
    assert len(set(steps)) == len(steps) and set(steps) == set(straight.history)


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_leaves_a_checkpoint_of_that_moment(tmp_path, workers):
    x = numbers(planted(300, 32, 16)[0])
    config = CONFIG.model_copy(update={"workers": workers, "members": 2})
    folder = tmp_path / "checkpoints"

    class Enough(Exception):
        pass

    def log(members):
        if members[0].step > 2000:
            raise Enough

    with pytest.raises(Enough):
        train(x, config, checkpoints=folder, log=log)
    assert newest(tmp_path) > 0
    seen = []
    resumed = train(x, config, checkpoints=folder, log=seen.append)
    straight = train(x, config)
    for a, b in zip(resumed.members, straight.members, strict=True):
        assert all(torch.equal(a.tensors()[name], b.tensors()[name]) for name in a.tensors())
    assert [one[0].step for one in seen] == sorted({one[0].step for one in seen})


def test_a_checkpoint_of_other_settings_or_damaged_is_one_clear_line(tmp_path):
    x = numbers(planted(100, 16, 8)[0])
    config = TrainConfig(members=1, latents=8, steps=50, workers=1)
    train(x, config, checkpoints=tmp_path)
    other = config.model_copy(update={"l1": 2.0})
    with pytest.raises(OrdinalError, match=f"other settings.*Remove {tmp_path}"):
        train(x, other, checkpoints=tmp_path)
    with pytest.raises(OrdinalError, match="other activations"):
        train(numbers(x.x * 2), config, checkpoints=tmp_path)
    file = tmp_path / "000.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(OrdinalError, match=r"damaged.*Remove"):
        train(x, config, checkpoints=tmp_path)
