from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from features.structure.universality import procrustes, representational_similarity
from lm.errors import OrdinalError
from lm.ordinals import OrdinalTokens
from tests.features.made_up import D_MODEL, made_up, tokens
from training.activations import Activations

NUMBERS = tokens("numbers")
MEASURES = [representational_similarity, procrustes]


def _numbers(seed: int, noise: float = 0.1) -> Activations:
    """Residue, tens and size of the number, along random directions."""
    rng = np.random.default_rng(seed)
    units, tens, size = (rng.standard_normal((k, D_MODEL)) for k in (10, 7, 1))
    return made_up(
        NUMBERS, lambda _, n: units[n % 10] + tens[n // 10] + n / 30 * size[0], noise, seed
    )


def _noise(seed: int) -> Activations:
    by_number = np.random.default_rng(seed).standard_normal((61, D_MODEL))
    return made_up(NUMBERS, lambda _, n: by_number[n], 0.1, seed)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_rotated_rescaled_noisy_copy_is_the_same(measure: Callable) -> None:
    ours = _numbers(0)
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(D_MODEL, D_MODEL, generator=generator)).Q
    noise = 0.2 * torch.randn(ours.x.shape, generator=generator)
    found = measure(
        ours, Activations(5 * (ours.x @ rotation + noise) + 3, NUMBERS), permutations=60
    )
    assert found.value > 0.9
    assert found.low < found.value < found.high
    assert found.value > found.null_banded_95 > found.null_95
    assert found.p_value == found.p_banded == 1 / 61
    assert found.n == 61


@pytest.mark.parametrize("measure", MEASURES)
def test_spellings_in_another_order_or_missing_change_nothing(measure: Callable) -> None:
    ours = _numbers(0, noise=0)
    order = np.random.default_rng(0).permutation(len(NUMBERS))[:-1]
    moved = Activations(ours.x[torch.tensor(order)], OrdinalTokens(NUMBERS.dataset.select(order)))
    found = measure(ours, moved, permutations=5)
    assert np.isclose(found.value, 1, atol=1e-4)


@pytest.mark.parametrize("measure", MEASURES)
def test_unrelated_models_are_called_alike_as_often_as_they_should_be(measure: Callable) -> None:
    found = [measure(_noise(s), _noise(1000 + s), permutations=19) for s in range(24)]
    p = np.array([(f.p_value, f.p_banded) for f in found])
    assert ((p <= 0.05).mean(0) <= 0.15).all()
    assert (np.abs((p <= 0.5).mean(0) - 0.5) < 0.3).all()


def test_the_similarity_is_scipys_spearman_of_cosine_distances() -> None:
    a, b = _numbers(0), _numbers(1)
    distances = []
    for act in (a, b):
        x = act.x.numpy().astype(float)
        means = np.stack([x[NUMBERS.table["index"] == n].mean(0) for n in range(61)])
        distances.append(pdist(means - means.mean(0), "cosine"))
    ours = representational_similarity(a, b, permutations=2).value
    assert np.isclose(ours, spearmanr(*distances).statistic, atol=1e-6)  # pyright: ignore


def test_too_few_shared_numbers_are_refused_in_words() -> None:
    ours = _numbers(0)
    few = (NUMBERS.table["index"] < 20).to_numpy()
    with pytest.raises(OrdinalError, match="share 20 numbers"):
        procrustes(ours, Activations(ours.x[torch.tensor(few)], NUMBERS.select(few)))
