"""The probe reads planted residues, none where there are none, and is a ridge regression."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from features.residue_probe import probe_accuracy
from lm.ordinals import FOLDS
from lm.planted import REFERENCE, planted_activations, smooth_activations, untrained_activations
from training.activations import Activations


def test_it_is_ridge_regression_on_the_other_folds() -> None:
    tokens, m, _ = planted_activations(REFERENCE, seed=2)
    found = probe_accuracy(Activations(m, tokens), 10, permutations=5)
    table = tokens.table
    numbers = (table["task"] == "numbers").to_numpy()
    x, residue = m.numpy()[numbers].astype(float), table["index"].to_numpy()[numbers] % 10
    fold = table["fold"].to_numpy()[numbers]
    hits = []
    for held_out in range(FOLDS):
        fit = fold != held_out
        centred = x[fit] - x[fit].mean(0)
        ridge = Ridge(alpha=1e-2 * (centred**2).sum() / x.shape[1])
        ridge.fit(x[fit], np.eye(10)[residue[fit]])
        hits.append(ridge.predict(x[~fit]).argmax(1) == residue[~fit])
    assert found.n_tokens == len(x)
    assert found.accuracy == pytest.approx(np.concatenate(hits).mean(), abs=1.5 / len(x))
    assert found.low <= found.accuracy <= found.high


def test_planted_residues_are_read_and_those_of_another_modulus_are_not() -> None:
    tokens, m, _ = planted_activations(REFERENCE, seed=3)
    activations = Activations(m, tokens)
    ten, seven = probe_accuracy(activations, 10), probe_accuracy(activations, 7)
    assert ten.low > 0.9 and ten.permuted_95 < 0.15
    assert ten.chance == pytest.approx(0.1)
    assert seven.low <= max(seven.permuted_95, seven.chance)


@pytest.mark.parametrize("made", [smooth_activations, untrained_activations])
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_read_where_there_is_nothing(made, seed: int) -> None:
    tokens, m = made(seed=seed)[:2]
    found = probe_accuracy(Activations(m, tokens), 10)
    assert found.low <= max(found.permuted_95, found.chance)
