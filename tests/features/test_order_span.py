from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch

from features.order import standardised_index
from features.structure.order_span import best_in_span, ordinal_span
from sae.ensemble import SAEEnsemble
from sae.relu import ReLUSAE
from tests.features.made_up import D_MODEL, directions, made_up, tokens

TASKS = ["numbers", "number_words", "letters", "months", "month_prefixes"]
FOUND = tokens(*TASKS)
AXES = directions(30)
LENGTH = {"numbers": 61, "number_words": 20, "letters": 26, "months": 12, "month_prefixes": 12}


def _ensemble(decoder: np.ndarray) -> SAEEnsemble:
    rows = torch.tensor(decoder).float()
    zeros = torch.zeros(len(rows))
    sae = ReLUSAE(W_enc=rows.T.contiguous(), W_dec=rows, b_dec=torch.zeros(D_MODEL), b_enc=zeros)
    return SAEEnsemble([sae] * 5, list(range(5)), list(range(5)), "made up", "hook")


def _span(shared: bool) -> pd.DataFrame:
    """Order along two axes, the same in all tasks or two of each task's own; and much besides."""
    rng = np.random.default_rng(1)
    besides = rng.standard_normal((len(TASKS), 61, 14)) @ AXES[16:]

    def m(task: str, index: int) -> np.ndarray:
        first = 0 if shared else 2 * TASKS.index(task)
        place = index / LENGTH[task] - 0.5
        return place * (AXES[first] + AXES[first + 1]) + besides[TASKS.index(task), index - 1]

    return ordinal_span(_ensemble(AXES), made_up(FOUND, m, 0.05))


@pytest.fixture(scope="module")
def shared() -> pd.DataFrame:
    return _span(shared=True)


def test_order_that_tasks_share_carries_over_to_a_task_left_out(shared: pd.DataFrame) -> None:
    rows = shared.set_index(["left_out", "task", "size"]).to_dict("index")
    for task in TASKS:
        row = rows["task", task, 2]
        assert row["r2"] > 0.8
        assert row["rho"] > 0.9
        assert row["r2_low"] <= row["r2"] <= row["r2_high"]
        assert row["r2_permuted_95"] < 0.4
        assert row["n"] == len(set(FOUND.table.query("task == @task")["index"]))
    everything = rows["indices", "all", 2]
    assert everything["r2"] > 0.9 > everything["r2_random_95"] + 0.3


def test_order_of_a_tasks_own_does_not_carry_over() -> None:
    rows = _span(shared=False).set_index(["left_out", "task", "size"]).to_dict("index")
    assert rows["indices", "numbers", 8]["r2"] > 0.8
    assert rows["task", "numbers", 8]["r2"] < 0.1
    assert rows["task", "letters", 8]["r2"] < 0.1


def test_the_span_of_a_few_is_found_greedily() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, D_MODEL))
    dictionary = rng.standard_normal((12, D_MODEL))
    target = x @ (2 * dictionary[3] - dictionary[7]) + 0.1 * rng.standard_normal(300)
    one, two = best_in_span(x, target, dictionary, (1, 2))
    assert one.latents == (3,)
    assert set(two.latents) == {3, 7}
    assert np.allclose(two.vector, 2 * dictionary[3] - dictionary[7], atol=0.02)
    best = min(
        combinations(range(12), 2),
        key=lambda pair: np.linalg.lstsq(x @ dictionary[list(pair)].T, target, rcond=None)[1][0],
    )
    assert set(two.latents) == set(best)


def test_the_index_is_standardised_within_its_task() -> None:
    table = FOUND.table.assign(y=standardised_index(FOUND.table))
    moments = table.groupby("task")["y"].agg(["mean", "std"])
    assert np.allclose(moments["mean"], 0)
    assert np.allclose(moments["std"], 1)
