import numpy as np
import torch
from scipy.stats import spearmanr

from features.order import ordinal_directions, permuted_targets, rank_correlations
from lm.ordinals import ordinal_tokens
from tests.checkpoints import byte_level_tokenizer


def test_rank_correlation_is_scipys_ties_included() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, (30, 5)).astype(float)
    values[:, 4] = 1
    index = rng.integers(0, 20, 30)
    ours = rank_correlations(values, index)
    for column in range(4):
        assert np.isclose(ours[column], spearmanr(values[:, column], index)[0])
    assert ours[4] == 0


def test_a_planted_ordinal_direction_is_found_and_its_permutation_is_not() -> None:
    tokens = ordinal_tokens(byte_level_tokenizer())
    index = torch.tensor(tokens.table["index"].to_numpy(), dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(32, generator=generator), dim=0)
    x = 0.1 * index[:, None] * direction + 0.2 * torch.randn(len(tokens), 32, generator=generator)
    found = {row.name: row for row in ordinal_directions(x.numpy(), tokens)}
    numbers = found["ordinal/numbers"]
    assert abs(numbers.vector @ direction.numpy()) > 0.95
    assert numbers.r2 > 0.9
    assert numbers.r2_permuted < 0.1
    assert numbers.r2_low < numbers.r2 < numbers.r2_high
    assert numbers.p_value < 0.01
    assert {"ordinal/shared", "ordinal/days"} <= set(found)
    assert "ordinal/roman_numerals" not in found


def test_a_permuted_index_moves_spellings_together_within_their_task() -> None:
    table = ordinal_tokens(byte_level_tokenizer()).table
    table = table[table["task"].isin(["numbers", "letters", "days"])]
    moved = permuted_targets(table, 30, np.random.default_rng(0))
    for task, rows in table.reset_index(drop=True).groupby("task"):
        part = moved[rows.index]
        np.testing.assert_allclose(part.mean(0), 0, atol=1e-12)
        np.testing.assert_allclose(part.std(0, ddof=1), 1)
        _, first, element = np.unique(rows["index"], return_index=True, return_inverse=True)
        assert (part == part[first][element]).all(), task
        assert len(np.unique(part[:, 0].round(9))) == len(first)
        assert len(np.unique(part[first].argsort(0), axis=1).T) == 30  # all are different orders
