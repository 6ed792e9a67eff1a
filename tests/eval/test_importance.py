"""The most important latents, where it is known which they are."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from eval.patching.importance import importance
from eval.patching.readout import Readout, readouts
from lm.open import open_model
from lm.ordinals import load_tasks, ordinal_tokens
from lm.planted import PlantedTruth, plant
from sae.ensemble import SAEEnsemble
from sae.relu import ReLUSAE
from training.activations import Activations
from training.harvest import harvest


@dataclass
class Planted:
    truth: PlantedTruth
    activations: Activations
    readouts: list[Readout]


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planted:
    folder = tmp_path_factory.mktemp("importance") / "model"
    truth = plant(folder, seed=2)
    model = open_model(str(folder))
    activations = harvest(model, ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 199))))
    return Planted(truth, activations, readouts(model, activations.tokens, truth.layer, truth.head))


def ensemble(directions: Float[Tensor, "latents d_model"], scale: float) -> SAEEnsemble:
    """Two members, each latent on where M is more than half along its direction."""
    sae = ReLUSAE(
        W_enc=directions.T.contiguous(),
        W_dec=directions,
        b_enc=torch.full((len(directions),), -scale / 2),
        b_dec=torch.zeros(directions.shape[1]),
    )
    return SAEEnsemble([sae, sae], [0, 1], [0, 1], "planted", "hook")


def meaningless(count: int, d: int) -> Float[Tensor, "count d"]:
    generator = torch.Generator().manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(count, d, generator=generator), dim=1)


def test_the_planted_residue_is_its_classes_modal_latent(planted: Planted) -> None:
    truth = planted.truth
    directions = torch.cat([meaningless(6, truth.residues.shape[1]), truth.residues])
    saes = ensemble(directions, truth.residue_scale)
    found = importance(saes, planted.activations, planted.readouts, 10)
    assert (found.table["latent"] == 6 + found.table["residue"]).all()
    assert (found.table["latent_fitted"] == found.table["latent"]).all()
    for _, row in found.summary.iterrows():
        assert row["share"] > 0.95 > row["permuted_95"] + 0.4
        assert row["share_low"] <= row["share"] <= row["share_high"]
        assert row["p_value"] == 1 / 201
        assert row["n_classes"] == 20


def test_latents_of_the_tens_cover_no_more_of_a_residue_than_chance(planted: Planted) -> None:
    truth = planted.truth
    found = importance(
        ensemble(truth.tens, truth.residue_scale), planted.activations, planted.readouts, 10
    )
    for _, row in found.summary.iterrows():
        assert row["share"] < 0.5
        assert row["p_value"] > 0.05


def test_importance_is_the_drop_when_the_latent_is_taken_out(planted: Planted) -> None:
    """One latent of one member at a time, taken out of M(t) and read again."""
    truth = planted.truth
    saes = ensemble(torch.cat([truth.residues, truth.tens]), truth.residue_scale)
    sae = saes.members[0]
    counts = np.zeros((10, sae.d_sae))
    for readout in planted.readouts:
        if readout.task != "numbers":
            continue
        for source in readout.sources:
            m = planted.activations.x[readout.rows[source]]
            without = m - sae.encode(m)[:, None] * sae.W_dec
            logits = readout.circuit.logits(torch.cat([m[None], without]))
            target = logits[:, readout.successor[source]]
            counts[readout.index[source] % 10, (target[0] - target[1:]).argmax()] += 1
    found = importance(saes, planted.activations, planted.readouts, 10).table
    mine = found[found["member"] == 0]
    assert np.allclose(mine["share"], counts.max(1) / counts.sum(1))
    assert (mine["n"] == counts.sum(1)).all()
