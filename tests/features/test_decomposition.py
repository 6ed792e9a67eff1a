import numpy as np
import pandas as pd
import pytest
import torch

from features.structure.decomposition import index_and_domain
from features.structure.projections import fit_projections
from tests.features.made_up import D_MODEL, made_up, tokens
from training.activations import Activations

TASKS = ["numbers", "number_words", "letters", "months", "days", "roman_numerals"]
FOUND = tokens(*TASKS)


def _two_way(seed: int, shared: float) -> pd.DataFrame:
    """M is an index part, a domain part and a part of its own, in given shares."""
    rng = np.random.default_rng(seed)
    index, domain = rng.standard_normal((61, D_MODEL)), rng.standard_normal((6, D_MODEL))
    own = rng.standard_normal((6, 61, D_MODEL))

    def m(task: str, i: int) -> np.ndarray:
        d = TASKS.index(task)
        return shared * index[i] + domain[d] + (1 - shared) * own[d, i]

    activations = made_up(FOUND, m, 0.05)
    form = np.unique(FOUND.table["form"], return_inverse=True)[1]
    spelled = rng.standard_normal((form.max() + 1, D_MODEL))[form]
    return index_and_domain(Activations(activations.x + 0.5 * torch.tensor(spelled), FOUND))


@pytest.mark.parametrize("decoder", ["parts", "sum"])
def test_pairs_left_out_decode_where_index_and_domain_add_up(decoder: str) -> None:
    table = _two_way(0, 0.95)
    rows = table[table["decoder"] == decoder].set_index("task").to_dict("index")
    assert rows["all"]["accuracy"] > 0.98
    assert rows["all"]["low"] > 0.9
    assert rows["all"]["permuted"] < 0.2
    assert rows["all"]["n_pairs"] > 75
    roman = rows["roman_numerals"]
    assert roman["held_out_task"]
    assert roman["accuracy"] > 0.9 > roman["permuted"] + 0.5
    assert np.isclose(roman["chance"], 1 / 26)


def test_pairs_left_out_decode_by_chance_where_tasks_share_no_index() -> None:
    table = _two_way(1, 0.0).query("task == 'all'")
    assert (table["accuracy"] < 0.2).all()


def test_the_projections_are_those_that_were_planted() -> None:
    """With index and domain in orthogonal subspaces, each map keeps one and drops the other."""
    rng = np.random.default_rng(2)
    axes = np.linalg.qr(rng.standard_normal((24, 24)))[0]
    index, domain = (g.ravel() for g in np.meshgrid(np.arange(20), np.arange(8)))
    a = rng.standard_normal((20, 8)) @ axes[:8]
    b = rng.standard_normal((8, 4)) @ axes[8:12]
    x = a[index] + b[domain] + 0.01 * rng.standard_normal((160, 24))
    fit = fit_projections(x, index, domain, np.arange(160))
    assert np.allclose(axes[:8] @ fit.index, axes[:8], atol=0.05)
    assert np.allclose(axes[8:12] @ fit.index, 0, atol=0.05)
    assert np.allclose(axes[8:12] @ fit.domain, axes[8:12], atol=0.05)
    assert np.allclose(axes[:8] @ fit.domain, 0, atol=0.05)
