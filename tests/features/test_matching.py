from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch

from features.structure.matching import match_latents, matching_table
from sae.ensemble import SAEEnsemble
from sae.relu import ReLUSAE
from tests.features.made_up import D_MODEL, directions, made_up, tokens

MODULUS, LATENTS = 5, 12
AXES = directions(MODULUS)
ACTIVATIONS = made_up(tokens("numbers"), lambda _, n: AXES[n % MODULUS], noise=0.3)


def _table(noise: float) -> pd.DataFrame:
    """Four members, each with the residues in places of its own among latents of its own."""
    rng = np.random.default_rng(0)
    members, places, rows = [], [], []
    for member in range(4):
        decoder = rng.standard_normal((LATENTS, D_MODEL))
        place = rng.permutation(LATENTS)[:MODULUS]
        decoder[place] = AXES + noise * rng.standard_normal(AXES.shape)
        weights = torch.tensor(decoder).float()
        members.append(
            ReLUSAE(
                W_enc=weights.T.contiguous(),
                W_dec=weights,
                b_enc=torch.zeros(LATENTS),
                b_dec=torch.zeros(D_MODEL),
            )
        )
        places.append(place)
        label = np.full(LATENTS, "neither", dtype=object)
        label[place] = [f"mod{MODULUS}/{r}" for r in range(MODULUS)]
        rows.append(pd.DataFrame({"member": member, "index": range(LATENTS), "label": label}))
    ensemble = SAEEnsemble(members, list(range(4)), list(range(4)), "made up", "hook")
    found = matching_table(ensemble, ACTIVATIONS, pd.concat(rows), np.array(places), reference=1)
    return found.set_index("group")


def test_features_that_come_back_are_matched_and_the_rest_is_not() -> None:
    table = _table(noise=0.02)
    for group in (f"mod{MODULUS}", f"mod{MODULUS}, every member", f"mod{MODULUS}/3"):
        row = table.loc[group]
        assert row["cosine"] > 0.9
        assert np.isclose(row["cosine"], row["max_cosine"])
        assert row["same_label"] == 1
    assert table.loc[f"mod{MODULUS}", "n_pairs"] == MODULUS * 3
    assert table.loc[f"mod{MODULUS}, every member", "n_pairs"] == MODULUS * 3 * 4
    assert table.loc["no label", "max_cosine_high"] < 0.6
    assert table.loc["random directions", "cosine_high"] < table.loc[f"mod{MODULUS}", "cosine_low"]
    assert table.loc["random directions", "same_label"] < 0.6
    assert "other labels" not in table.index


def test_features_of_one_seed_alone_are_no_nearer_than_random_directions() -> None:
    """Directions with the tokens' covariance lie near residues too: the control is strict."""
    table = _table(noise=10)
    own, random = table.loc[f"mod{MODULUS}"], table.loc["random directions"]
    assert own["cosine"] < random["cosine_high"]
    assert own["same_label"] < 0.6


def test_the_matching_is_the_best_of_all() -> None:
    rng = np.random.default_rng(1)
    a, b = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.standard_normal((2, 6, D_MODEL))
    )
    match = match_latents(a, b)
    cosines = a @ b.T
    best = max(permutations(range(6)), key=lambda order: cosines[range(6), order].sum())
    assert tuple(match.latent) == best
    assert np.allclose(match.cosine, cosines[range(6), best])
    assert (match.max_cosine >= match.cosine - 1e-12).all()


@pytest.mark.parametrize("others", [3, 9])
def test_dictionaries_of_other_widths_are_matched_as_far_as_they_go(others: int) -> None:
    rng = np.random.default_rng(2)
    match = match_latents(rng.standard_normal((6, 8)), rng.standard_normal((others, 8)))
    assert (match.latent >= 0).sum() == min(6, others)
    assert (match.cosine[match.latent < 0] == 0).all()
