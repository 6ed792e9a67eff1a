"""What each operator does to M, against the same thing done another way."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from eval.patching.edits import SCALES, EditedReadout, operator_edits, possible_edits
from eval.patching.operators import Add, Clamp, Operator, Remove, Replace, Swap, edited
from eval.patching.readout import Readout, readouts
from eval.patching.subspaces import span
from eval.patching.swaps import index_swaps, random_swap
from features.activity import latent_activity
from features.directions import ResidueDirections, sae_directions
from lm.open import open_model
from lm.ordinals import load_tasks, ordinal_tokens
from lm.planted import PlantedTruth, plant
from sae.ensemble import SAEEnsemble
from training.activations import Activations
from training.config import TrainConfig
from training.fit import train
from training.harvest import harvest

NAMES = ("add", "remove", "replace", "clamp", "swap")


@dataclass
class Studied:
    truth: PlantedTruth
    activations: Activations
    readouts: list[Readout]
    ensemble: SAEEnsemble
    directions: ResidueDirections
    operators: dict[str, Operator]


@pytest.fixture(scope="module")
def studied(tmp_path_factory) -> Studied:
    folder = tmp_path_factory.mktemp("planted") / "model"
    truth = plant(folder, seed=2)
    model = open_model(str(folder))
    tokens = ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 199)))
    activations = harvest(model, tokens)
    config = TrainConfig(members=1, latents=48, steps=600, workers=1, device="cpu")
    ensemble = train(activations, config, progress=False)
    activity = latent_activity(ensemble, activations)
    (directions,) = sae_directions(ensemble, activity, activations, 10)
    operators = [
        Add(directions, activations),
        Remove(directions, activations),
        Replace(directions, activations),
        Clamp(directions, activations, ensemble.members[0]),
        index_swaps(activations, 10)[0],
    ]
    read = readouts(model, tokens, truth.layer, truth.head)
    by_name = {operator.name: operator for operator in operators}
    return Studied(truth, activations, read, ensemble, directions, by_name)


def pairs(studied: Studied, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of some sources and targets that the operator can give."""
    can = torch.nonzero(studied.operators[name].can_give())[:, 0]
    numbers = torch.tensor((studied.activations.tokens.table["task"] == "numbers").to_numpy())
    chosen = can[numbers[can]]
    return torch.nonzero(numbers)[: len(chosen), 0], chosen.flip(0)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_changed_in_place_and_no_dose_is_no_edit(studied: Studied, name: str) -> None:
    before = studied.activations.x.clone()
    sources, targets = pairs(studied, name)
    m = studied.activations.x[sources]
    assert torch.equal(edited(studied.operators[name], m, sources, targets, 0.0), m)
    assert not torch.equal(edited(studied.operators[name], m, sources, targets), m)
    assert torch.equal(studied.activations.x, before)


@pytest.mark.parametrize("name", NAMES)
def test_the_products_give_what_the_edited_m_gives(studied: Studied, name: str) -> None:
    operator = studied.operators[name]
    for readout in studied.readouts:
        one = EditedReadout.of(operator, studied.activations, readout)
        edits = possible_edits(readout, 10)
        edits = edits.where(operator.can_give()[readout.rows].numpy()[edits.target])
        rows, targets = readout.rows[edits.source], readout.rows[edits.target]
        m = edited(operator, studied.activations.x[rows], rows, targets, 1.7)
        direct = readout.circuit.logits(m)
        torch.testing.assert_close(one.logits(edits, 1.7), direct, atol=1e-4, rtol=1e-4)


def test_remove_and_replace_change_nothing_outside_the_span(studied: Studied) -> None:
    basis = span(studied.directions.vectors)
    for name in ("remove", "replace"):
        sources, targets = pairs(studied, name)
        m = studied.activations.x[sources]
        after = edited(studied.operators[name], m, sources, targets)
        outside = (after - m) - ((after - m) @ basis) @ basis.T
        assert outside.abs().max() < 1e-4
        assert not torch.allclose(after @ basis, m @ basis)


def test_remove_gives_another_number_of_the_residue_that_was_fitted(studied: Studied) -> None:
    remove = studied.operators["remove"]
    assert isinstance(remove, Remove)
    table = studied.activations.tokens.table
    donors = table.iloc[remove.donors.numpy()]
    assert (donors["task"] == "numbers").all()
    assert (donors["index"].to_numpy() % 10 == table["index"].to_numpy() % 10).all()
    assert (donors["index"].to_numpy() != table["index"].to_numpy()).all()
    assert not studied.directions.held_out[remove.donors].any()


def test_clamp_is_the_reconstruction_with_other_latents_and_the_old_error(studied: Studied) -> None:
    clamp = studied.operators["clamp"]
    assert isinstance(clamp, Clamp)
    sae = studied.ensemble.members[0]
    sources, targets = pairs(studied, "clamp")
    m = studied.activations.x[sources]
    latents = sae.encode(m)
    error = m - sae.decode(latents)
    index = torch.tensor(studied.activations.tokens.table["index"].to_numpy())
    for residue in range(10):
        latents[:, studied.directions.latents[residue]] = 0
    for row, target in enumerate(targets):
        residue = int(index[target]) % 10
        latents[row, studied.directions.latents[residue]] = clamp.levels[residue]
    expected = sae.decode(latents) + error
    torch.testing.assert_close(edited(clamp, m, sources, targets), expected, atol=1e-4, rtol=1e-4)


def test_a_swap_never_takes_from_the_target_and_prefers_another_task(studied: Studied) -> None:
    swap = studied.operators["swap"]
    assert isinstance(swap, Swap)
    table = studied.activations.tokens.table
    has = np.flatnonzero(swap.donors.numpy() >= 0)
    donors, targets = table.iloc[swap.donors.numpy()[has]], table.iloc[has]
    assert (donors["index"].to_numpy() == targets["index"].to_numpy()).all()
    assert (donors["token_id"].to_numpy() != targets["token_id"].to_numpy()).all()
    shared = targets["index"].between(1, 7).to_numpy()
    assert (donors["task"].to_numpy() != targets["task"].to_numpy())[shared].all()
    assert not donors["held_out_task"].any()


def test_a_random_subspace_of_the_same_rank_swaps_nothing(studied: Studied) -> None:
    swap = studied.operators["swap"]
    assert isinstance(swap, Swap)
    assert 10 <= swap.rank <= 40
    control = random_swap(swap)
    assert torch.linalg.matrix_rank(control.project, rtol=1e-4) == swap.rank
    success = {
        name: operator_edits([operator], studied.activations, studied.readouts, controls=("none",))[
            "success"
        ].mean()
        for name, operator in (("swap", swap), ("random", control))
    }
    assert success["swap"] > success["random"] + 0.5


def test_words_take_the_scale_that_suits_their_fitted_elements(studied: Studied) -> None:
    """Ruining M of the held-out days must not move the scale that is used for days."""
    table = studied.activations.tokens.table
    days = torch.tensor((table["task"] == "days").to_numpy()) & studied.directions.held_out
    ruined = studied.activations.x.clone()
    ruined[days] += 50 * studied.truth.tens[0]
    scales = [
        operator_edits([Add(studied.directions, activations)], activations, studied.readouts)
        .query("task == 'days'")["scale"]
        .unique()
        .tolist()
        for activations in (
            studied.activations,
            Activations(ruined, studied.activations.tokens),
        )
    ]
    assert scales[0] == scales[1]
    assert scales[0][0] in SCALES
