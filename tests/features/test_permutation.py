"""Max-T p-values: by their definition, under the null, and as finely as asked for."""

import numpy as np
import pandas as pd
from scipy.stats import kstest

from features.hypotheses.residue import residue_family
from features.permutation import Prepared, max_t_p_values, permutation_p_values

NUMBERS = pd.DataFrame(
    {
        "task": "numbers",
        "index": np.tile(np.arange(200), 2),
        "form": np.repeat(["space", "bare"], 200),
        "held_out_task": False,
    }
)


def _family():
    family = residue_family(NUMBERS)
    assert family is not None
    return family


def test_a_score_is_the_correlation_with_the_contrast() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((400, 3))
    family = _family()
    scores = family.scores(values)
    by_number = (values[:200] + values[200:]) / 2
    where = [h.label for h in family.hypotheses].index("mod10/3")
    expected = np.corrcoef(by_number.T, np.arange(200) % 10 == 3)[-1, :-1]
    # Bands of 50 numbers are more than 200 here: one stratum, so that nothing else is taken off.
    wide = family.restrict(NUMBERS["index"].to_numpy() < 50)
    assert np.abs(scores[where] / np.sqrt(family.freedom[where]) - expected).max() < 0.05
    inside = np.corrcoef(by_number[:50].T, np.arange(50) % 10 == 3)[-1, :-1]
    assert np.allclose(wide.scores(values)[where] / np.sqrt(wide.freedom[where]), inside)


def test_p_values_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    index = NUMBERS["index"].to_numpy()
    values = rng.random((400, 4)) + 0.4 * (index[:, None] % 10 == np.arange(4)) * [0, 0.4, 0.6, 1]
    family = _family()
    p = permutation_p_values(family, values, permutations=2000, seed=0)
    observed = family.scores(values).max(0)
    reached = np.zeros(4)
    for _ in range(500):
        moved = np.arange(200)
        for band in range(0, 200, 50):
            moved[band : band + 50] = band + rng.permutation(50)
        reached += family.scores(values[np.concatenate([moved, moved + 200])]).max(0) >= observed
    assert np.abs(p - reached / 500).max() < 0.07


def test_p_values_are_uniform_where_there_is_nothing() -> None:
    rng = np.random.default_rng(2)
    number = rng.random((200, 400)) * np.linspace(0, 1, 200)[:, None]  # magnitude, no residue
    values = np.concatenate([number, number]) + 0.1 * rng.random((400, 400))
    p = permutation_p_values(_family(), values, permutations=400)
    assert kstest(p, "uniform").pvalue > 0.01


def test_survivors_are_resolved_as_finely_as_the_correction_needs() -> None:
    rng = np.random.default_rng(3)
    values = rng.random((400, 1000))
    values[:, 0] += 3 * (NUMBERS["index"].to_numpy() % 10 == 4)
    (p,) = max_t_p_values([Prepared.of(_family(), values)], permutations=200, level=0.05, seed=0)
    assert p[0] <= 0.05 / 1000
    assert p[1:].min() > 1e-4


def test_a_constant_feature_is_not_significant() -> None:
    values = np.full((400, 2), 0.3)
    values[:, 1] = 0
    (p,) = max_t_p_values([Prepared.of(_family(), values)], permutations=50, level=0.05, seed=0)
    assert (p == 1).all()
