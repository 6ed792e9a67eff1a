import numpy as np
import pandas as pd
from scipy import stats

from features.statistics import (
    benjamini_hochberg,
    bootstrap_means,
    clusters,
    shuffled_indices,
)


def test_a_score_of_one_gets_the_clopper_pearson_interval_of_its_clusters() -> None:
    cluster = np.repeat(np.arange(30), 2)
    (low,), (high,) = bootstrap_means(np.ones((1, 60)), cluster).interval()
    expected = stats.binomtest(30, 30).proportion_ci(0.95, method="exact")
    assert np.isclose(low, expected.low)
    assert high == 1
    (low,), (high,) = bootstrap_means(np.zeros((1, 60)), cluster).interval()
    assert low == 0
    assert np.isclose(high, stats.binomtest(0, 30).proportion_ci(0.95, method="exact").high)


def test_intervals_cover_the_truth_when_spellings_agree() -> None:
    """Two copies of each observation are no more evidence than one."""
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        once = rng.random(60) < 0.7
        both = np.repeat(once, 2)[None].astype(float)
        (low,), (high,) = bootstrap_means(
            both, np.repeat(np.arange(60), 2), draws=400, seed=trial
        ).interval()
        covered += low <= 0.7 <= high
    assert 180 <= covered <= 199


def test_strata_weigh_alike() -> None:
    values = np.array([[1.0] * 10 + [0.0] * 90])
    strata = np.array(["short"] * 10 + ["long"] * 90)
    assert bootstrap_means(values, np.arange(100), strata).estimate[0] == 0.5


def test_clusters_hold_all_spellings_of_one_element() -> None:
    table = pd.DataFrame({"task": ["days", "days", "months"], "index": [1, 1, 1]})
    assert clusters(table).tolist() == [0, 0, 1]


def test_q_values_are_those_of_scipy_and_reject_as_benjamini_and_hochberg_do() -> None:
    p = np.random.default_rng(1).random(50) ** 3
    order = np.sort(p)
    passing = np.flatnonzero(order <= 0.05 * np.arange(1, 51) / 50)
    rejected = passing.max() + 1 if len(passing) else 0
    assert (benjamini_hochberg(p) <= 0.05).sum() == rejected


def test_permutations_move_spellings_together_and_stay_in_their_band() -> None:
    index = np.concatenate([np.arange(60), np.arange(60)])
    null = shuffled_indices(index, band=20, count=50, seed=0)
    assert (null[:, :60] == null[:, 60:]).all()
    assert (null // 20 == index // 20).all()
    assert (np.sort(null[:, :60], axis=1) == np.arange(60)).all()
    assert (null != index).mean() > 0.8
