"""Recall and precision against a planted truth: perfect labels, wrong ones, and whole trials."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from eval.dictionaries.recovery import claimed_labels, counted_directions, recovered_directions
from eval.dictionaries.trial_tables import negatives_table, planted_table
from eval.dictionaries.trials import SCRAMBLED, Trial, run_trial
from features.catalog import FeatureCatalog
from lm.planted import REFERENCE, planted_activations
from sae.ensemble import SAEEnsemble
from sae.relu import ReLUSAE

FAMILY = {"mod10": "residue", "tens": "digit", "ordinal": "order", "task": "task"}


@pytest.fixture(scope="module")
def truth():
    return planted_activations(REFERENCE, seed=0)[2]


@pytest.fixture
def perfect(truth):
    """Two members that hold every planted direction but the numbers' domain, and their labels."""
    planted = counted_directions(truth)
    names = [name for name in planted if name != "task/numbers"]
    decoder = torch.stack([planted[name] for name in names])
    size, d_model = decoder.shape
    zeros = torch.zeros(size), torch.zeros(d_model)
    member = ReLUSAE(W_enc=decoder.T.contiguous(), W_dec=decoder, b_enc=zeros[0], b_dec=zeros[1])
    ensemble = SAEEnsemble([member, member], [0, 1], [0, 1], "planted", "hook")
    labels = pd.DataFrame(
        [
            {
                "member": m,
                "index": i,
                "label": "ordinal/numbers" if name == "ordinal" else name,
                "family": FAMILY[name.split("/")[0]],
                "sign": 1,
                "r2": 1.0,
            }
            for m in range(2)
            for i, name in enumerate(names)
        ]
    )
    catalog = FeatureCatalog(labels, pd.DataFrame(), pd.DataFrame({"name": []}))
    return catalog, ensemble


def test_perfect_labels_recover_everything(truth, perfect) -> None:
    catalog, ensemble = perfect
    found = recovered_directions(catalog, ensemble, truth).set_index("direction")
    assert found["recovered"].all()
    assert found["by"].value_counts().to_dict() == {"latent": 28, "bias": 1}
    latents = found[found["by"] == "latent"]
    assert np.allclose(latents["cosine"], 1, atol=1e-5)
    assert np.allclose(latents["cosine_contrast"], 1, atol=1e-5)
    assert latents["cosine_random"].max() < 0.5
    assert claimed_labels(catalog.features, ensemble, truth)["right"].all()


def test_swapped_labels_are_wrong_and_point_elsewhere(truth, perfect) -> None:
    catalog, ensemble = perfect
    swap = {"mod10/3": "mod10/4", "mod10/4": "mod10/3", "tens/1": "interval/10-19"}
    features = catalog.features.assign(label=catalog.features["label"].replace(swap))
    claims = claimed_labels(features, ensemble, truth)
    assert set(claims.loc[~claims["right"], "label"]) == set(swap.values())
    swapped = FeatureCatalog(features, catalog.residue_table, catalog.order)
    found = recovered_directions(swapped, ensemble, truth).set_index("direction")
    assert not found.loc["tens/1", "recovered"]
    assert found.loc[["mod10/3", "mod10/4"], "cosine_contrast"].max() < 0.5


def test_what_most_members_lack_is_not_recovered(truth, perfect) -> None:
    catalog, ensemble = perfect
    three = replace(
        ensemble, members=ensemble.members[:1] * 3, seeds=[0, 1, 2], held_out_folds=[0, 1, 2]
    )
    found = recovered_directions(catalog, three, truth).set_index("direction")
    assert found["recovered"].all()  # two of three
    fewer = replace(
        three, members=three.members + three.members, seeds=list(range(6)), held_out_folds=[0] * 6
    )
    assert not recovered_directions(catalog, fewer, truth)["recovered"].any()


def test_the_reference_is_recovered() -> None:
    outcome = run_trial(Trial("planted", "reference", 0.0, 0))
    row = planted_table(outcome.directions, outcome.labels).iloc[0]
    assert row["recall"] == 1
    assert row["precision"] >= 0.95
    found = outcome.directions.query("by == 'latent'")
    assert found["cosine_contrast"].min() >= 0.9
    assert row["cosine_random"] < 0.5


def test_another_modulus_is_found_as_what_it_is() -> None:
    outcome = run_trial(Trial("planted", "modulus", 7.0, 1))
    residues = outcome.labels.loc[outcome.labels["label"].str.startswith("mod"), "label"]
    assert set(residues) == {f"mod7/{r}" for r in range(7)}


@pytest.mark.parametrize("kind", SCRAMBLED)
def test_negatives_are_labelled_no_more_than_chance_allows(kind: str) -> None:
    outcomes = [run_trial(Trial(kind, "", 0.0, seed)).trial for seed in range(3)]
    row = negatives_table(pd.concat(outcomes)).iloc[0]
    assert row["runs"] == 3
    assert row["latents"] > 100
    assert row["labels"] <= 1  # three runs of which one in twenty may have a label
    if kind == "permuted indices":
        assert row["unscrambled"] == 1
