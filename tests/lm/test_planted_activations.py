"""Activations with known features, or none, without a checkpoint."""

import numpy as np
import pytest
import torch

from lm.access import mlp0_outputs
from lm.open import open_model
from lm.planted import (
    REFERENCE,
    plant,
    planted_activations,
    smooth_activations,
    untrained_activations,
)


@pytest.mark.parametrize("shuffled", [False, True])
def test_they_are_what_the_checkpoint_computes(tmp_path, shuffled):
    truth = plant(tmp_path / "model", REFERENCE, seed=2, shuffled=shuffled)
    tokens, m, same = planted_activations(REFERENCE, seed=2, shuffled=shuffled)
    model = open_model(str(tmp_path / "model"))
    through_mlp0 = mlp0_outputs(model, torch.tensor(tokens.table["token_id"].to_numpy()))
    torch.testing.assert_close(m, through_mlp0, atol=1e-4, rtol=0)
    assert torch.equal(truth.residues, same.residues)


@pytest.fixture(scope="module")
def smooth():
    return smooth_activations(seed=1)


def test_smooth_activations_are_smooth_in_the_number(smooth):
    """Their power lies below a frequency of ten a range: none at a period of ten, or of twenty."""
    tokens, m = smooth
    table = tokens.table
    for form in ("space", "bare"):
        here = (table["task"] == "numbers") & (table["form"] == form)
        x = m[torch.tensor(here.to_numpy())].numpy()
        window = np.hanning(len(x))[:, None]  # the ends do not meet
        power = (np.abs(np.fft.rfft(window * (x - x.mean(0)), axis=0)) ** 2).sum(1)
        assert power[len(x) // 20 :].sum() < 1e-3 * power.sum()


def test_spellings_of_smooth_activations_correlate_and_words_do_not(smooth):
    tokens, m = smooth
    table = tokens.table
    assert m.square().mean() == pytest.approx(1, rel=0.1)

    def rows(task, form):
        here = (table["task"] == task) & (table["form"] == form)
        return m[torch.tensor(here.to_numpy())].flatten().numpy()

    for task, one, other in (
        ("numbers", "space", "bare"),
        ("letters", "space lower", "bare capital"),
    ):
        assert np.corrcoef(rows(task, one), rows(task, other))[0, 1] == pytest.approx(0.9, abs=0.02)
    letters = rows("letters", "space lower").reshape(26, -1)
    assert np.abs(np.corrcoef(letters)[~np.eye(26, dtype=bool)]).mean() < 0.1


def test_the_seed_decides_smooth_activations(smooth):
    assert torch.equal(smooth_activations(seed=1)[1], smooth[1])
    assert not torch.equal(smooth_activations(seed=2)[1], smooth[1])


def test_nothing_is_shared_between_spellings_of_an_untrained_model():
    tokens, m = untrained_activations(seed=1)
    assert torch.equal(untrained_activations(seed=1)[1], m)
    assert not torch.equal(untrained_activations(seed=2)[1], m)
    table = tokens.table
    numbers = (table["task"] == "numbers").to_numpy()
    centred = (m - m[torch.tensor(numbers)].mean(0)).numpy()
    one, other = (centred[numbers & (table["form"] == form)] for form in ("space", "bare"))
    assert (table["index"][numbers & (table["form"] == "space")].to_numpy() == range(300)).all()
    cosines = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert abs(cosines.mean()) < 3 * cosines.std() / np.sqrt(len(cosines)) + 0.01
