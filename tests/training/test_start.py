"""How a training starts: the norm of its encoder, the penalty that it comes from."""

import pytest
import torch

from tests.training.made_up import numbers, planted
from training.checkpoint import Checkpoints
from training.config import TrainConfig
from training.fit import train
from training.inputs import Inputs
from training.loop import Group, fit_group
from training.sparse import SparseEngine


@pytest.fixture
def taken(monkeypatch):
    """The penalty's multiple and the norms of the encoder's rows, at each step."""
    steps, step = [], SparseEngine.step

    def watched(engine, batch, share, rate, number):
        steps.append((share, engine.parameters.W_enc[0].norm(dim=1).clone()))
        return step(engine, batch, share, rate, number)

    monkeypatch.setattr(SparseEngine, "step", watched)
    return steps


def fit(**chosen) -> None:
    x, _ = planted(rows=100, d_model=16, features=8)
    config = TrainConfig(latents=8, steps=20, sparsity_warm_up=0.5, **chosen)
    list(fit_group(Group([0], [Inputs.prepare(x, x[:0])], config), "cpu", Checkpoints(None, "")))


@pytest.mark.parametrize("start", [0.0, 1.0, 3.0])
def test_the_penalty_goes_from_its_start_to_its_value(taken, start):
    fit(sparsity_start=start)
    shares = [share for share, _ in taken]
    expected = [start + (1 - start) * min(1, step / 10) for step in range(1, 21)]
    assert shares == pytest.approx(expected)
    assert shares[9:] == [1.0] * 11


def test_encoder_rows_start_with_the_norm_that_was_chosen(taken):
    fit(encoder_norm=0.1)
    torch.testing.assert_close(taken[0][1], torch.full((8,), 0.1))


def test_a_weak_penalty_makes_codes_sparse_sooner_by_continuation():
    x, _ = planted(rows=400, d_model=64, features=48)
    activations = numbers(x)
    config = TrainConfig(members=1, latents=96, l1=0.05, steps=600, sparsity_warm_up=0.5)
    reached = {}
    for start in (0.0, 4.0):
        chosen = config.model_copy(update={"sparsity_start": start})
        reports = []
        train(activations, chosen, progress=False, log=reports.append)
        reached[start] = reports[-1][0]
    assert reached[4.0].l0 < 0.9 * reached[0.0].l0
    assert reached[4.0].loss < reached[0.0].loss
