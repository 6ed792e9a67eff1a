"""Dead latents start again where the dictionary is worst, and nothing else moves."""

import torch

from sae.topk import TopK
from training.config import TrainConfig
from training.inputs import Inputs
from training.parameters import Parameters
from training.resampling import resample, resampling_steps
from training.sparse import SparseEngine


def test_they_start_at_badly_explained_tokens():
    torch.manual_seed(0)
    x = torch.randn(100, 16)
    x[:5] *= 20  # nothing explains these yet
    inputs = Inputs.prepare(x, x[:0])
    architecture = TopK(k=2)
    p = Parameters(torch.randn(1, Parameters.size(16, 30, ["b_enc"])), 16, 30, ["b_enc"])
    p.W_dec.div_(p.W_dec.norm(dim=-1, keepdim=True))
    engine = SparseEngine(architecture, p, inputs, 1, rows=100)
    for step in range(1, 4):
        engine.step(None, 1.0, 1e-3, step)
    before, moments = p.flat.clone(), engine.moments.clone()
    fired = torch.arange(30)[None] < 18
    resample(engine, architecture, [inputs], [7], fired, step=3)

    old = p.like(before)
    for now, then in ((p.W_dec, old.W_dec), (p.W_enc, old.W_enc)):
        assert torch.equal(now[0, :18], then[0, :18])
    assert torch.equal(p.b_dec, old.b_dec)
    tokens = torch.nn.functional.normalize(inputs.fit - p.b_dec, dim=1)
    cosine, which = (p.W_dec[0, 18:] @ tokens.T).max(1)
    torch.testing.assert_close(cosine, torch.ones(12))
    assert (which < 5).all()
    norm = 0.2 * old.W_enc[0, :18].norm(dim=1).mean()
    torch.testing.assert_close(p.W_enc[0, 18:], norm * p.W_dec[0, 18:])
    assert not p.latents["b_enc"][0, 18:].any()
    for now, then in zip(engine.moments[0], moments[0], strict=True):
        assert not p.like(now).W_enc[0, 18:].any() and not p.like(now).W_dec[0, 18:].any()
        assert torch.equal(p.like(now).W_enc[0, :18], p.like(then).W_enc[0, :18])


def test_nothing_moves_when_all_are_alive():
    x = torch.randn(50, 8)
    inputs = Inputs.prepare(x, x[:0])
    p = Parameters(torch.randn(1, Parameters.size(8, 6, ["b_enc"])), 8, 6, ["b_enc"])
    engine = SparseEngine(TopK(k=2), p, inputs, 1, rows=50)
    before = p.flat.clone()
    resample(engine, TopK(k=2), [inputs], [0], torch.ones(1, 6, dtype=torch.bool), step=1)
    assert torch.equal(p.flat, before)


def test_it_is_spread_over_the_steps_before_the_learning_rate_falls():
    config = TrainConfig(steps=1000, decay=0.2, resamples=3)
    assert resampling_steps(config) == {200, 400, 600}
    assert resampling_steps(TrainConfig()) == set()
