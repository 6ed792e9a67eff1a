"""Every question about structure, on activations that hold the answer or cannot."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from features.activity import latent_activity
from features.directions import sae_directions
from features.labels import label_features
from features.structure.tables import structure_tables
from lm.planted import PlantedDials, planted_activations
from sae.ensemble import SAEEnsemble
from sae.relu import ReLUSAE
from training.activations import Activations

TOKENS, M, TRUTH = planted_activations(PlantedDials(d_model=128, numbers=149), seed=3)
PLANTED = Activations(M, TOKENS)
QUESTIONS = {"cyclic", "fourier", "helices", "index_and_domain", "ordinal_span", "matching"}


def _ensemble(members: int = 5) -> SAEEnsemble:
    """The planted residues and order among directions of each member's own."""
    saes = []
    for member in range(members):
        generator = torch.Generator().manual_seed(member)
        noise = torch.randn(8, M.shape[1], generator=generator)
        rows = torch.cat([TRUTH.residues, TRUTH.ordinal[None], noise])
        rows = torch.nn.functional.normalize(rows, dim=1)[torch.randperm(19, generator=generator)]
        bias = torch.full((19,), -TRUTH.residue_scale / 2)
        zeros = torch.zeros(M.shape[1])
        saes.append(ReLUSAE(W_enc=rows.T.contiguous(), W_dec=rows, b_enc=bias, b_dec=zeros))
    folds = [member % 5 for member in range(members)]
    return SAEEnsemble(saes, folds, folds, "planted", "hook")


def _structure(activations: Activations, members: int = 5) -> dict[str, pd.DataFrame]:
    ensemble = _ensemble(members)
    catalog = label_features(ensemble, activations, permutations=50)
    residues = []
    if "not_testable" not in catalog.metadata:
        activity = latent_activity(ensemble, activations)
        residues = sae_directions(ensemble, activity, activations, 10)
    return structure_tables(ensemble, activations, catalog, residues)


def _part(rows: np.ndarray) -> Activations:
    return Activations(M[torch.tensor(rows)], TOKENS.select(rows))


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return _structure(PLANTED)


def test_nothing_is_left_out_of_a_whole_vocabulary(tables) -> None:
    assert tables["left_out"].empty
    assert set(tables) > QUESTIONS | {"spectrum", "circle", "irreducibility"}


def test_the_planted_residues_show_at_their_period_and_not_at_seven(tables) -> None:
    fourier = tables["fourier"].set_index("period")
    assert fourier.loc[10, "power"] > fourier.loc[10, "null_95"]
    assert fourier.loc[7, "power"] < 0.01
    helices = tables["helices"].set_index("fit")
    assert helices.loc["modulus 10", "r2_low"] > helices.loc["modulus 10", "r2_random_95"]


def test_independent_residues_lie_at_their_own_place_on_the_circle(tables) -> None:
    circle = tables["circle"]
    angle = 2 * np.pi * circle["index"] / 10
    cosine = (circle["x"] * np.cos(angle) + circle["y"] * np.sin(angle)) / np.hypot(
        circle["x"], circle["y"]
    )
    assert cosine.mean() > 0.9


def test_the_planted_residues_are_matched_across_members(tables) -> None:
    matching = tables["matching"].set_index("group")
    assert matching.loc["mod10", "max_cosine"] > 0.99
    assert matching.loc["mod10", "same_label"] >= 0.9
    assert matching.loc["random directions", "max_cosine_high"] < 0.8


NUMBERS = (TOKENS.table["task"] == "numbers").to_numpy()
INDEX = TOKENS.table["index"].to_numpy()
KINDS = {
    "numbers with gaps": (NUMBERS & (INDEX % 3 != 0), {"cyclic", "index_and_domain"}),
    "a decade": (NUMBERS & (INDEX < 10), QUESTIONS - {"ordinal_span"} | {"circle"}),
    "days": (
        (TOKENS.table["task"] == "days").to_numpy(),
        QUESTIONS - {"cyclic", "ordinal_span"} | {"circle"},
    ),
    "two days": (
        (TOKENS.table["task"] == "days").to_numpy() & (INDEX < 3),
        QUESTIONS | {"circle"},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_tokens_cannot_show_is_left_out_with_its_reason(kind: str) -> None:
    rows, untestable = KINDS[kind]
    tables = _structure(_part(rows))
    left_out = tables["left_out"].set_index("table")["reason"]
    assert set(left_out.index) == untestable
    assert not untestable & set(tables)
    assert left_out.str.len().min() > 20


def test_one_sae_has_no_other_to_be_matched_with() -> None:
    left_out = _structure(_part(NUMBERS & (INDEX < 90)), members=1)["left_out"]
    assert left_out["table"].tolist() == ["cyclic", "index_and_domain", "matching"]
    assert "one SAE" in left_out["reason"].iloc[-1]


def test_vectors_that_say_nothing_about_their_tokens_show_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    tables = _structure(replace(PLANTED, x=torch.randn(M.shape, generator=generator)))
    assert (tables["cyclic"]["p_value"] < 0.05).sum() <= 3
    assert (tables["fourier"]["p_value"] < 0.05).sum() <= 3
    decoded = tables["index_and_domain"].query("task == 'all'")
    assert (decoded["accuracy"] < decoded["permuted"] + 0.1).all()
    span = tables["ordinal_span"].query("task == 'all'")
    assert (span["r2"] < 0.1).all()


def test_vectors_that_are_all_the_same_are_left_out() -> None:
    few = NUMBERS & (INDEX < 45)
    tables = _structure(replace(_part(few), x=torch.ones(int(few.sum()), M.shape[1])))
    assert set(tables) == {"left_out"}
    assert set(tables["left_out"]["reason"]) == {"all tokens have the same vector"}
