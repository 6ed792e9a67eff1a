"""The greater-than bias of logits whose order is known."""

import numpy as np
import pytest
import torch

from eval.heads.greater_than import candidate_ranks, greater_than_auc, greater_than_table
from eval.patching.lesions import Lesion, Lesions
from eval.patching.readout import Readout
from features.directions import ResidueDirections
from lm.circuit import HeadCircuit
from lm.planted.vocabulary import vocabulary
from tests.eval.hand_made import HandMadeModel
from training.activations import Activations

N = 30
INDEX = np.arange(N)
INCLUDED = ~np.eye(N, dtype=bool) & ~np.eye(N, k=1, dtype=bool)


def auc(logits: np.ndarray) -> np.ndarray:
    return greater_than_auc(candidate_ranks(logits, INCLUDED), INCLUDED, INDEX, INDEX)


def by_pairs(logits: np.ndarray, source: int) -> float:
    won = [
        (logits[source, g] > logits[source, s]) + 0.5 * (logits[source, g] == logits[source, s])
        for g in range(source + 2, N)
        for s in range(source)
    ]
    return float(np.mean(won)) if won else np.nan


def test_monotone_logits_have_one_reversed_ones_nought_and_ties_a_half() -> None:
    rising = np.tile(INDEX.astype(float), (N, 1))
    both_sides = (INDEX > 0) & (INDEX < N - 2)
    assert (auc(rising)[both_sides] == 1).all()
    assert (auc(-rising)[both_sides] == 0).all()
    assert (auc(0 * rising)[both_sides] == 0.5).all()
    assert np.isnan(auc(rising)[~both_sides]).all()


def test_ranks_count_every_pair() -> None:
    rng = np.random.default_rng(0)
    logits = rng.integers(0, 9, (N, N)).astype(float)  # with ties
    expected = [by_pairs(logits, source) for source in range(N)]
    assert np.allclose(auc(logits), expected, equal_nan=True)


def test_mean_ranks_have_the_mean_auc() -> None:
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(5, N, N))
    mean = np.mean([candidate_ranks(logits, INCLUDED) for logits in draws], 0)
    one = greater_than_auc(mean, INCLUDED, INDEX, INDEX)
    assert np.allclose(one, np.mean([auc(logits) for logits in draws], 0), equal_nan=True)


@pytest.fixture(scope="module")
def rising() -> tuple[HandMadeModel, Activations, Readout]:
    """A head that writes greater numbers more, along the one direction that all tokens share."""
    everything = vocabulary(N - 1)
    tokens = everything.tokens
    table = tokens.table
    rows = table[(table["task"] == "numbers") & (table["form"] == "bare")].sort_values("index")
    d_model = everything.tokenizer.get_vocab_size()
    generator = torch.Generator().manual_seed(0)
    x = 0.1 * torch.randn(len(tokens), d_model, generator=generator)
    x[:, 0] = 10
    kernel = 0.01 * torch.randn(d_model, N, generator=generator)
    kernel[0] = torch.tensor(INDEX) / 10
    candidates = torch.tensor(rows["token_id"].to_numpy())
    successor = np.append(INDEX[1:], -1)
    circuit = HeadCircuit(0, 0, candidates, kernel)
    read = Readout("numbers", torch.tensor(rows.index.to_numpy()), INDEX, successor, circuit)
    return HandMadeModel(everything.tokenizer, [{}]), Activations(x, tokens), read


def test_the_table_tells_a_rising_head_from_permuted_elements_and_from_no_head(rising) -> None:
    model, activations, read = rising
    table = greater_than_table(model, activations, [read]).set_index(["reading", "task"])
    head = table.loc["head", "numbers"]
    assert head["auc"] == head["auc_low"] == 1
    assert head["permuted"] == pytest.approx(0.5, abs=0.05)
    assert head["permuted_95"] < 1
    assert head["p_value"] == pytest.approx(1 / 201)
    assert head["n_elements"] == N - 3
    assert not head["cyclic"]
    assert table.loc["head", "all"]["auc"] == 1
    assert "all that go round" not in table.index.get_level_values("task")
    assert table.loc["W_E + M(t) without head", "numbers"]["auc"] < 0.7


def test_removal_leaves_every_source_the_mean_of_what_it_removes(rising) -> None:
    """Odd numbers write smaller ones more, even ones greater; the mean of both writes greater."""
    model, activations, read = rising
    x = activations.x.clone()
    even = torch.tensor((activations.tokens.table["index"] % 2 == 0).to_numpy())
    x[:, 0] = torch.where(even, 30.0, -10.0)
    first, other = torch.eye(x.shape[1])[:2, :, None]
    third = torch.arange(len(x)) % 3 == 0
    sets = [
        Lesions(
            ResidueDirections("truth", fold, torch.eye(x.shape[1])[:10], held_out),
            [Lesion("ordinal", first), Lesion("tens", other), Lesion("random", first)],
        )
        for fold, held_out in enumerate((third, ~third))
    ]
    table = greater_than_table(model, Activations(x, activations.tokens), [read], [sets])
    table = table.set_index(["reading", "task"])
    assert table.loc["head", "numbers"]["auc"] == pytest.approx(0.5, abs=0.05)
    assert table.loc["tens removed", "numbers"]["change"] == pytest.approx(0, abs=0.01)
    removed = table.loc["ordinal removed", "numbers"]
    assert removed["auc"] == pytest.approx(1)
    assert removed["change_low"] > 0.2
    assert "random removed" not in table.index.get_level_values("reading")
