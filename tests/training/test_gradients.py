"""Both engines' hand-written gradients against autograd on the papers' own objectives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from sae.architectures import ARCHITECTURES
from sae.jumprelu import BANDWIDTH
from training.inputs import Inputs
from training.parameters import Parameters
from training.sparse import SparseEngine
from training.stacked import StackedEngine

ROWS, D_IN, D_SAE, SHARE = 123, 7, 12, 0.6


class Step(torch.autograd.Function):
    """H(x - threshold), the threshold's gradient by a rectangle kernel; none for x."""

    @staticmethod
    def forward(ctx, x, threshold):
        ctx.save_for_backward(x, threshold)
        return (x > threshold).to(x)

    @staticmethod
    def backward(ctx, out):
        x, threshold = ctx.saved_tensors
        kernel = ((x - threshold).abs() < BANDWIDTH / 2).to(x) / BANDWIDTH
        return torch.zeros_like(x), (-kernel * out).sum(0)


class Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, threshold):
        ctx.save_for_backward(x, threshold)
        return x * (x > threshold)

    @staticmethod
    def backward(ctx, out):
        x, threshold = ctx.saved_tensors
        kernel = ((x - threshold).abs() < BANDWIDTH / 2).to(x) / BANDWIDTH
        return out * (x > threshold), (-threshold * kernel * out).sum(0)


def objective(name: str, x: Tensor, p: dict[str, Tensor], arch) -> Tensor:
    """The papers' losses, written from their equations for autograd."""

    def squared(f: Tensor, W_dec: Tensor = p["W_dec"], b_dec: Tensor = p["b_dec"]) -> Tensor:
        return (x - f @ W_dec - b_dec).square().sum(1).mean()

    read = (x - p["b_dec"]) @ p["W_enc"].T
    if name == "gated":
        pi = read + p["b_gate"]
        f = (pi > 0) * torch.relu(read * p["r_mag"].exp() + p["b_mag"])
        gate = torch.relu(pi)
        aside = squared(gate, p["W_dec"].detach(), p["b_dec"].detach())
        return squared(f) + SHARE * arch.l1 * gate.sum(1).mean() + aside
    pre = read + p["b_enc"]
    if name == "jumprelu":
        threshold = p["log_threshold"].exp()
        count = Step.apply(pre, threshold).sum(1).mean()
        return squared(Jump.apply(pre, threshold)) + SHARE * arch.l0 * count
    if name == "topk":
        values, where = pre.topk(arch.k)
        return squared(torch.zeros_like(pre).scatter(1, where, values.relu()))
    if name == "batchtopk":
        values, where = pre.flatten().topk(arch.k * len(x))
        kept = torch.zeros_like(pre).flatten().scatter(0, where, values.relu())
        return squared(kept.view_as(pre))
    f = torch.relu(pre)
    norm = p["W_dec"].norm(dim=1) if name == "relu-weighted" else 1.0
    return squared(f) + SHARE * arch.l1 * (f * norm).sum(1).mean()


def architecture(name: str):
    """With free decoder rows, so that one step of gradient descent shows the whole gradient."""
    kind = ARCHITECTURES[name]
    free = type("Free", (kind,), {"unit_decoder": False})
    return free(k=3) if hasattr(kind, "k") else free()


def made(arch, dtype=torch.float64, rows: int = ROWS, members: int = 1):
    torch.manual_seed(1)
    inputs = Inputs.prepare(torch.randn(rows, D_IN, dtype=dtype), torch.randn(5, D_IN, dtype=dtype))
    size = Parameters.size(D_IN, D_SAE, list(arch.latents))
    parameters = Parameters(torch.randn(members, size, dtype=dtype), D_IN, D_SAE, [*arch.latents])
    parameters.W_enc.mul_(0.5)
    if "log_threshold" in arch.latents:
        parameters.latents["log_threshold"].mul_(0.3).sub_(1.5)
    return inputs, parameters


def engines(arch, inputs, parameters, levels):
    copies = [replace(parameters, flat=parameters.flat.clone()) for _ in range(2)]
    return (
        SparseEngine(arch, copies[0], inputs, levels, rows=len(inputs.fit)),
        StackedEngine(arch, copies[1], [inputs], levels),
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("which", [0, 1], ids=["sparse", "stacked"])
def test_a_step_of_gradient_descent_goes_down_autograds_gradient(name, which):
    arch = architecture(name)
    inputs, parameters = made(arch)
    named = {"W_enc": parameters.W_enc, "W_dec": parameters.W_dec, "b_dec": parameters.b_dec}
    leaves = {
        key: value[0].clone().requires_grad_()
        for key, value in (named | dict(parameters.latents)).items()
    }
    batch = torch.randperm(ROWS)[:80]
    expected = objective(name, inputs.fit[batch], leaves, arch)
    expected.backward()
    engine = engines(arch, inputs, parameters, 0)[which]
    seen = engine.step(batch[None], SHARE, 1.0, 1)
    after = engine.parameters
    moved = {"W_enc": after.W_enc, "W_dec": after.W_dec, "b_dec": after.b_dec} | dict(after.latents)
    for key, leaf in leaves.items():
        gradient = leaf.detach() - moved[key][0]
        assert leaf.grad is not None
        assert leaf.grad.abs().max() > 1e-3
        torch.testing.assert_close(gradient, leaf.grad, rtol=1e-10, atol=1e-10)
    assert seen.square > 0 and 0 < seen.l0 < D_SAE


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("levels", [1, 2])
def test_the_engines_agree_over_many_steps(name, levels):
    arch = ARCHITECTURES[name]()
    inputs, parameters = made(arch)
    parameters.W_dec.div_(parameters.W_dec.norm(dim=-1, keepdim=True))
    sparse, stacked = engines(arch, inputs, parameters, levels)
    for step in range(1, 40):
        batch = torch.randperm(ROWS)[None, :40] if step % 2 else None
        a, b = (engine.step(batch, step / 40, 1e-2, step) for engine in (sparse, stacked))
        torch.testing.assert_close(a.square + a.penalty, b.square + b.penalty)
        assert torch.equal(a.fired, b.fired)
    torch.testing.assert_close(sparse.parameters.flat, stacked.parameters.flat)
    norm = sparse.parameters.W_dec.norm(dim=-1)
    assert torch.allclose(norm, torch.ones_like(norm)) == arch.unit_decoder


def test_one_normalisation_is_torchs_adam():
    torch.manual_seed(0)
    from training.optimiser import descend

    ours = torch.randn(1, 50, dtype=torch.float64)
    theirs = ours.clone().requires_grad_()
    adam = torch.optim.Adam([theirs], lr=0.01)
    moments = torch.zeros(1, 2, 1, 50, dtype=torch.float64)
    for step in range(1, 30):
        gradient = torch.randn(1, 50, dtype=torch.float64)
        theirs.grad = gradient.clone()
        adam.step()
        descend(ours, gradient, moments, 0.01, step)
    torch.testing.assert_close(ours, theirs.detach())


def test_two_normalisations_normalise_what_adam_would_step_by():
    """2-Adam is Adam fed with Adam's own steps in place of gradients."""
    from training.optimiser import descend

    ours, inner = (torch.zeros(1, 20, dtype=torch.float64) for _ in range(2))
    outer = torch.zeros(20, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([outer], lr=0.1)
    moments, inner_moments = (
        torch.zeros(levels, 2, 1, 20, dtype=torch.float64) for levels in (2, 1)
    )
    for step in range(1, 30):
        gradient = torch.from_numpy(np.random.default_rng(step).standard_normal((1, 20)))
        before = inner.clone()
        descend(inner, gradient, inner_moments, 1.0, step)
        outer.grad = (before - inner)[0]
        adam.step()
        descend(ours, gradient, moments, 0.1, step)
    torch.testing.assert_close(ours[0], outer.detach())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_bfloat16_steps_go_almost_the_same_way(name):
    """Dense codes, so that every product is rounded: to eight bits, a relative error of 2^-9."""
    arch = architecture(name)
    inputs, parameters = made(arch, torch.float32)
    moved = []
    for bfloat16 in (False, True):
        p = replace(parameters, flat=parameters.flat.clone())
        engine = SparseEngine(arch, p, inputs, 0, rows=ROWS, bfloat16=bfloat16)
        engine.step(None, SHARE, 1.0, 1)
        assert engine.look("fit").l0 > 0
        moved.append(parameters.flat - p.flat)
    exact, rounded = moved
    assert not torch.equal(exact, rounded)
    assert (exact - rounded).norm() < 0.05 * exact.norm()
