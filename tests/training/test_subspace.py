"""Training in the tokens' own subspace: the same descent, at a cost that d_model does not set."""

from dataclasses import replace

import pytest
import torch

from sae.architectures import ARCHITECTURES
from training.checkpoint import Checkpoints
from training.config import TrainConfig
from training.inputs import Inputs, geometric_median, span
from training.loop import Group, fit_group
from training.parameters import Parameters
from training.sparse import SparseEngine


def tokens(rows: int, d_model: int, dtype=torch.float64, seed: int = 0) -> torch.Tensor:
    """Sparse sums of forty directions, off the origin, with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(40, d_model, generator=generator, dtype=dtype)
    on = torch.rand(rows, 40, generator=generator, dtype=dtype) < 0.1
    noise = torch.randn(rows, d_model, generator=generator, dtype=dtype)
    return on.to(dtype) @ directions + 3 + 0.1 * noise


def test_the_basis_is_complete_and_orthonormal():
    x = tokens(30, 200)
    basis = span(x)
    torch.testing.assert_close(basis @ basis.T, torch.eye(30, dtype=x.dtype))
    torch.testing.assert_close(x @ basis.T @ basis, x)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradient_descent_in_the_subspace_is_gradient_descent(name):
    """The same SAE, started in the subspace, stepped there and in the model's space."""
    x = tokens(30, 90)
    inside, outside = (Inputs.prepare(x, x[:0], subspace=yes) for yes in (True, False))
    assert inside.basis is not None and outside.basis is None
    architecture = ARCHITECTURES[name]()
    names = list(architecture.latents)
    small = Parameters(
        torch.zeros(1, Parameters.size(inside.d_in, 16, names), dtype=x.dtype), 30, 16, names
    )
    large = Parameters(torch.zeros(1, Parameters.size(90, 16, names), dtype=x.dtype), 90, 16, names)
    start = torch.nn.functional.normalize(torch.randn(16, 30, dtype=x.dtype), dim=1)
    small.W_enc[0] = small.W_dec[0] = start
    large.W_enc[0] = large.W_dec[0] = start @ inside.basis
    for p in (small, large):
        for key, initial in architecture.latents.items():
            p.latents[key].fill_(initial)
    for fold, p in ((inside, small), (outside, large)):
        engine = SparseEngine(architecture, p, fold, 0, rows=30)
        for step in range(1, 50):
            engine.step(None, 1.0, 1e-3, step)
    assert (small.W_dec[0] - start).abs().max() > 1e-3
    for a, b in zip(
        (small.W_enc, small.W_dec, small.b_dec),
        (large.W_enc, large.W_dec, large.b_dec),
        strict=True,
    ):
        torch.testing.assert_close(a[0] @ inside.basis, b[0], rtol=1e-10, atol=1e-10)
    for key in names:
        torch.testing.assert_close(small.latents[key], large.latents[key], rtol=1e-10, atol=1e-10)


def held_out_loss(x: torch.Tensor, test: torch.Tensor, config: TrainConfig) -> float:
    """The objective on tokens that were not fitted, of the SAE in the model's own space."""
    inputs = Inputs.prepare(x, test, subspace=config.subspace)
    *_, metrics, (sae,) = fit_group(Group([0], [inputs], config), "cpu", Checkpoints(None, ""))
    assert sae.W_dec.shape == (config.latents, x.shape[1])
    f = sae.encode(test)
    square = (test - sae.decode(f)).square().sum()
    fvu = float(square / (test - x.mean(0)).square().sum())
    assert metrics[0].fvu_held_out == pytest.approx(fvu, rel=1e-3)
    penalty = config.l1 * f.sum() / inputs.scale
    return float((square + penalty) / len(test))


def test_adam_in_the_subspace_ends_as_well_over_eight_seeds():
    losses = {}
    for subspace in (True, False):
        found = []
        for seed in range(8):
            x = tokens(240, 400, torch.float32, seed=seed)
            config = TrainConfig(
                members=1, latents=48, l1=2.0, steps=1000, batch=64, seed=seed, subspace=subspace
            )
            found.append(held_out_loss(x[:200], x[200:], config))
        losses[subspace] = sum(found) / 8
    assert losses[True] == pytest.approx(losses[False], rel=0.01)


def test_the_geometric_median_is_least_in_summed_distance_and_resists_outliers():
    torch.manual_seed(0)
    x = torch.randn(101, 5, dtype=torch.float64)
    x[:20] += 1000
    median = geometric_median(x)
    least = (x - median).norm(dim=1).sum()
    for _ in range(50):
        assert (x - median - 1e-3 * torch.randn(5)).norm(dim=1).sum() > least
    assert median.norm() < 1 < x.mean(0).norm()
    one = torch.ones(4, 3)
    assert torch.equal(geometric_median(one), one[0])
    assert replace(Inputs.prepare(one, one), scale=torch.ones(())).variance[0] == 0
