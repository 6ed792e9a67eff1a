import numpy as np
import pandas as pd
import pytest

from features import residues
from features.residues import fit_residues
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


@pytest.fixture(scope="module")
def tokens() -> OrdinalTokens:
    return ordinal_tokens(byte_level_tokenizer())


def test_a_modulus_with_too_few_numbers_is_refused_in_words(tokens: OrdinalTokens) -> None:
    assert residues.testable(tokens, 5) is None
    reason = residues.testable(tokens, 10)
    assert reason is not None
    assert f"{(LAST_NUMBER + 1) // 10} numbers" in reason
    assert "8 are needed" in reason
