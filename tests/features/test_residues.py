import numpy as np
import pandas as pd
import pytest

from features import residues
from features.residues import fit_residues, residue_p_values, selectivity
from lm.ordinals import OrdinalTokens, ordinal_tokens
from tests.checkpoints import LAST_NUMBER, byte_level_tokenizer

NUMBERS = pd.DataFrame({"index": list(range(200)) * 2, "form": ["space"] * 200 + ["bare"] * 200})


def test_precision_and_recall_are_those_of_the_worse_spelling() -> None:
    index, form = NUMBERS["index"].to_numpy(), NUMBERS["form"].to_numpy()
    both = index % 10 == 3
    only_spaced = both & (form == "space")
    too_often = both | (index == 50)
    fit = fit_residues(np.stack([both, only_spaced, too_often], 1), NUMBERS, 10)
    assert (fit.precision[0, 3], fit.recall[0, 3]) == (1, 1)
    assert fit.recall[1, 3] == 0
    assert np.isclose(fit.precision[2, 3], 20 / 21)
    assert fit.good[:, 3].tolist() == [True, False, True]
    assert not np.delete(fit.good, 3, 1).any()


def test_selectivity_by_its_definition() -> None:
    index = np.arange(20)
    values = np.where(index % 10 == 4, 3.0, 1.0)[:, None]
    assert np.isclose(selectivity(values, index, 10, np.array([4]))[0], (3 - 1) / (3 + 1))


def test_noise_is_called_significant_no_more_often_than_it_should_be() -> None:
    rng = np.random.default_rng(0)
    index = np.repeat(np.arange(0, 200, 5) + rng.integers(0, 5, 40), 2)
    latents = 600
    # Magnitude and spelling shape the noise; the residue does not.
    values = rng.random((80, latents)) * np.linspace(0, 1, 80)[:, None]
    residue = rng.integers(0, 10, latents)
    p = residue_p_values(values, index, 10, residue, permutations=200)
    assert (p <= 0.05).mean() < 0.08
    assert (p <= 0.5).mean() > 0.35


def test_a_residue_feature_on_held_out_numbers_is_significant() -> None:
    index = np.repeat(np.arange(0, 200, 5) + np.tile(np.arange(5), 8), 2)
    values = np.stack([index % 10 == 3, np.zeros(80)], 1).astype(float)
    p = residue_p_values(values, index, 10, np.array([3, 3]), permutations=500)
    assert p[0] < 0.01
    assert p[1] == 1


@pytest.fixture(scope="module")
def tokens() -> OrdinalTokens:
    return ordinal_tokens(byte_level_tokenizer())


def test_a_modulus_with_too_few_numbers_is_refused_in_words(tokens: OrdinalTokens) -> None:
    assert residues.testable(tokens, 5) is None
    reason = residues.testable(tokens, 10)
    assert reason is not None
    assert f"{(LAST_NUMBER + 1) // 10} numbers" in reason
    assert "8 are needed" in reason
