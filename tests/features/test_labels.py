"""Labels on dictionaries whose meaning is known."""

import json

import numpy as np
import pytest
import torch

from features.catalog import FeatureCatalog
from features.labels import label_features
from lm.errors import OrdinalError
from lm.open import open_model
from lm.ordinals import load_tasks, ordinal_tokens
from lm.planted import plant
from sae.ensemble import SAEEnsemble
from sae.relu import ReLUSAE
from training.harvest import harvest

MEMBERS = 5


def _true_dictionary(truth) -> ReLUSAE:
    """Ten residues, the ordinal direction, and five directions that mean nothing."""
    noise = torch.nn.functional.normalize(
        torch.randn(5, truth.residues.shape[1], generator=torch.Generator().manual_seed(0)), dim=1
    )
    decoder = torch.cat([truth.residues, truth.ordinal[None], noise])
    b_enc = torch.cat([torch.full((10,), -truth.residue_scale / 2), torch.zeros(6)])
    return ReLUSAE(
        W_enc=decoder.T.contiguous(),
        W_dec=decoder,
        b_dec=torch.zeros(decoder.shape[1]),
        b_enc=b_enc,
    )


@pytest.fixture(scope="module", params=[False, True], ids=["planted", "shuffled"])
def labelled(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels") / "model"
    truth = plant(folder, seed=2, shuffled=request.param)
    model = open_model(str(folder))
    activations = harvest(model, ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 199))))
    ensemble = SAEEnsemble(
        [_true_dictionary(truth)] * MEMBERS,
        list(range(MEMBERS)),
        list(range(MEMBERS)),
        "planted",
        "blocks.0.hook_mlp_out",
    )
    return request.param, truth, label_features(ensemble, activations, permutations=300)


def test_residues_and_order_are_labelled_where_they_are_true(labelled) -> None:
    shuffled, _, catalog = labelled
    residue = catalog.features[catalog.features["index"] < 10]
    if shuffled:
        assert (residue["label"] == "neither").all()
        return
    assert (residue["label"] == "mod10/" + residue["index"].astype(str)).all()
    assert (residue["q_value"] <= 0.05).all()
    assert (residue["precision"] == 1).all()
    assert (residue["cosine_class_mean"] > 0.9).all()


def test_the_ordinal_direction_is_labelled_and_noise_is_not(labelled) -> None:
    _, _, catalog = labelled
    by_latent = catalog.features.groupby("index")["label"]
    assert set(by_latent.get_group(10)) == {"ordinal/shared"}
    for latent in range(11, 16):
        assert set(by_latent.get_group(latent)) == {"neither"}


def test_other_moduli_find_nothing(labelled) -> None:
    _, _, catalog = labelled
    controls = catalog.residue_table[catalog.residue_table["modulus"] != 10]
    assert set(controls["modulus"]) == {7, 9}
    assert not controls["good"].any()


def test_the_vectors_are_the_planted_directions(labelled) -> None:
    shuffled, truth, catalog = labelled
    if shuffled:
        return
    assert json.loads(catalog.metadata["latents"]) == list(range(10))
    for r in range(10):
        assert torch.allclose(catalog.vectors[f"mod10/{r}"], truth.residues[r], atol=1e-5)


def test_identical_members_are_perfectly_stable(labelled) -> None:
    _, _, catalog = labelled
    assert np.allclose(catalog.features["stability"], 1, atol=1e-5)


def test_a_catalog_comes_back_as_it_was_saved(labelled, tmp_path) -> None:
    _, _, catalog = labelled
    catalog.save(tmp_path)
    again = FeatureCatalog.load(tmp_path)
    assert again.features.equals(catalog.features)
    assert again.metadata == catalog.metadata
    assert all(torch.equal(v, again.vectors[k]) for k, v in catalog.vectors.items())


def test_a_damaged_catalog_is_named(labelled, tmp_path) -> None:
    _, _, catalog = labelled
    catalog.save(tmp_path)
    path = tmp_path / "features.parquet"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(OrdinalError, match=r"features\.parquet is damaged"):
        FeatureCatalog.load(tmp_path)
