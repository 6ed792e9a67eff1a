"""The fit: what it recovers, what it depends on, how it ends."""

import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from lm.errors import OrdinalError
from tests.training.made_up import numbers, planted
from training.fit import TrainConfig, train


def test_a_planted_dictionary_is_recovered():
    x, directions = planted(rows=800, d_model=32, features=24)
    config = TrainConfig(members=1, latents=24, l1=1.0, steps=1500)
    W_dec = train(numbers(x * 40), config, progress=False).members[0].W_dec
    mmcs = (directions @ W_dec.T).amax(1).mean()
    assert mmcs > 0.95
    torch.testing.assert_close(W_dec.norm(dim=1), torch.ones(24))


def test_the_scale_of_the_model_changes_nothing_but_the_scale():
    x, _ = planted(rows=100, d_model=16, features=8)
    config = TrainConfig(members=1, latents=8, steps=100, workers=1)
    small, large = (train(numbers(x * k), config).members[0] for k in (1, 1024))
    torch.testing.assert_close(small.W_dec, large.W_dec)
    torch.testing.assert_close(small.encode(x) * 1024, large.encode(x * 1024), rtol=1e-3, atol=1e-2)


def test_a_member_is_the_same_alone_and_beside_others_in_any_number_of_processes():
    x, _ = planted(rows=100, d_model=16, features=8)
    ensembles = [
        train(numbers(x), TrainConfig(members=members, latents=8, steps=60, workers=workers))
        for members, workers in ((3, 1), (2, 2), (1, 1))
    ]
    for ensemble in ensembles[1:]:
        for ours, theirs in zip(ensemble.members, ensembles[0].members, strict=False):
            for name, value in ours.tensors().items():
                assert torch.equal(value, getattr(theirs, name))
    a, b = ensembles[0].members[:2]
    assert not torch.equal(a.W_dec, b.W_dec)


def test_the_held_out_tokens_do_not_reach_the_member():
    x, _ = planted(rows=100, d_model=16, features=8)
    activations = numbers(x)
    spoilt = x.clone()
    spoilt[torch.from_numpy(activations.held_out(0))] = 1e6
    config = TrainConfig(members=1, latents=8, steps=60, workers=1)
    before, after = (train(a, config).members[0] for a in (activations, numbers(spoilt)))
    assert torch.equal(before.W_dec, after.W_dec)


def test_the_last_metrics_are_those_of_the_ensemble():
    x, _ = planted(rows=200, d_model=16, features=8)
    activations = numbers(x)
    seen = []
    config = TrainConfig(members=2, latents=8, steps=77, workers=1)
    ensemble = train(activations, config, log=seen.append)
    assert seen[-1][0].step == 77 and [m.member for m in seen[-1]] == [0, 1]
    for metrics, sae, fold in zip(seen[-1], ensemble.members, ensemble.held_out_folds, strict=True):
        fit, test = x[activations.fit_rows(fold)], x[activations.test_rows(fold)]
        mean = fit.mean(0)
        for rows, fvu in ((fit, metrics.fvu), (test, metrics.fvu_held_out)):
            error = (rows - sae.decode(sae.encode(rows))).square().sum()
            assert fvu == pytest.approx(float(error / (rows - mean).square().sum()), rel=1e-3)
        assert metrics.l0 == pytest.approx(float((sae.encode(fit) > 0).sum(1).float().mean()), 1e-3)


@pytest.mark.parametrize("workers", [1, 2])
def test_divergence_names_the_member_and_what_to_try(workers):
    x, _ = planted(rows=50, d_model=16, features=8)
    config = TrainConfig(members=2, latents=8, learning_rate=1e30, steps=50, workers=workers)
    with pytest.raises(OrdinalError, match=r"Member [01] .*learning_rate: 1e\+29"):
        train(numbers(x), config)


def test_too_few_tokens_is_told():
    with pytest.raises(OrdinalError, match="give more tokens"):
        train(numbers(torch.randn(2, 4)), TrainConfig(members=1))


def test_a_dictionary_as_wide_as_the_tokens_is_warned_of():
    said = []
    config = TrainConfig(members=1, latents=60, steps=5, workers=1)
    train(numbers(torch.randn(100, 4)), config, say=said.append)
    assert len(said) == 1 and "memorise" in said[0] and "latents: 10" in said[0]
    train(numbers(torch.randn(1000, 4)), config, say=said.append)
    assert len(said) == 1


def test_a_token_that_is_constant_does_not_break_the_fit():
    ensemble = train(numbers(torch.ones(20, 4)), TrainConfig(members=1, latents=4, steps=20))
    assert all(torch.isfinite(value).all() for value in ensemble.members[0].tensors().values())


def _ps(*options: str) -> list[str]:
    return subprocess.run(["ps", *options], capture_output=True, text=True).stdout.split()


def _alive(pid: str) -> bool:
    return bool(state := _ps("-o", "stat=", "-p", pid)) and not state[0].startswith("Z")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_training(end):
    """A script without a `__main__` guard, stopped in its midst."""
    script = textwrap.dedent("""
        import signal
        import torch
        from tests.training.made_up import numbers
        from training.fit import TrainConfig, train
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored
        config = TrainConfig(members=4, steps=100_000, workers=2, latents=8)
        train(numbers(torch.randn(200, 16)), config, log=lambda metrics: None)
    """)
    parent = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while (
        len(workers := _ps("-o", "pid=", "--ppid", str(parent.pid))) < 2
        and time.monotonic() < deadline
    ):
        time.sleep(0.2)
    assert len(workers) == 2
    time.sleep(1)
    parent.send_signal(end)
    parent.wait(timeout=60)
    deadline = time.monotonic() + 60

    while any(_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(_alive(pid) for pid in workers)


def test_an_unknown_setting_is_refused_and_each_is_explained():
    with pytest.raises(ValueError, match="latent"):
        TrainConfig.model_validate({"latent": 3})
    assert all(field.description for field in TrainConfig.model_fields.values())
