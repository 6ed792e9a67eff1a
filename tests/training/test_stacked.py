"""The GPU's engine, on CPU tensors: the members of a stack are those fitted one by one."""

import pytest
import torch

from sae.architectures import ARCHITECTURES
from tests.training.made_up import planted
from training.checkpoint import Checkpoints
from training.config import TrainConfig
from training.inputs import Inputs
from training.loop import REPORTS, Group, fit_group

CONFIG = TrainConfig(members=3, latents=12, steps=60, resamples=1, learning_rate=1e-2)


def folds(d_model: int) -> list[Inputs]:
    """Three folds of different sizes, in subspaces of different widths if d_model is large."""
    x = planted(60, d_model, 8)[0].double() * 5
    return [Inputs.prepare(x[cut:], x[:cut], x[: cut - 3]) for cut in (10, 20, 25)]


def fitted(members: list[int], inputs: list[Inputs], config: TrainConfig):
    *reports, saes = fit_group(Group(members, inputs, config), "cpu", Checkpoints(None, ""))
    return reports, saes


@pytest.mark.parametrize("d_model", [16, 90])
@pytest.mark.parametrize("settings", [{}, {"batch": 16}, {"patience": 3}], ids=str)
@pytest.mark.parametrize("name", ["relu", "batchtopk", "jumprelu", "gated"])
def test_a_stack_gives_what_its_members_give_alone(name, settings, d_model):
    inputs = folds(d_model)
    config = CONFIG.model_copy(update={"architecture": name, "k": 3, **settings})
    reports, saes = fitted([0, 1, 2], inputs, config)
    for member in range(3):
        alone_reports, (alone,) = fitted([member], [inputs[member]], config)
        assert type(alone) is type(saes[member])
        for key, value in alone.tensors().items():
            torch.testing.assert_close(saes[member].tensors()[key], value, rtol=1e-6, atol=1e-6)
        together = {report[member].step: report[member] for report in reports}
        for (report,) in alone_reports:
            assert together[report.step] == pytest.approx(report, rel=1e-6)


def test_every_architecture_learns_what_was_planted_and_stays_finite():
    x, directions = planted(400, 32, 24)
    inputs = Inputs.prepare(x[80:] * 40, x[:80] * 40)
    for name in ARCHITECTURES:
        config = TrainConfig(
            architecture=name, latents=32, steps=1500, k=3, l1=1.0, l0=0.5, batch=128, resamples=2
        )
        reports, (sae,) = fitted([0], [inputs], config)
        assert reports[-1][0].fvu_held_out < 0.2, name
        assert (directions @ sae.W_dec.T).amax(1).mean() > 0.8, name


def test_early_stopping_ends_early_and_keeps_the_best():
    torch.manual_seed(0)
    x = torch.randn(60, 20)  # noise: whatever is learned of it is not there in the next
    inputs = Inputs.prepare(x[:40], x[40:50], x[50:])
    config = TrainConfig(members=1, latents=40, steps=2000, patience=3, l1=0.1)
    reports, (sae,) = fitted([0], [inputs], config)
    assert len(reports) < 20 and reports[-1][0].step == 2000
    straight, (overfitted,) = fitted([0], [inputs], config.model_copy(update={"patience": None}))

    def error(sae) -> torch.Tensor:
        return (x[50:] - sae.decode(sae.encode(x[50:]))).square().sum()

    assert len(straight) == REPORTS
    assert error(sae) < error(overfitted)
