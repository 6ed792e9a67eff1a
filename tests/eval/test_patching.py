"""Ablation, arithmetic and head choice on checkpoints whose truth is known."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from eval.heads.successor import baseline_table, head_table, scored_tokens
from eval.patching.ablation import ablation_table
from eval.patching.arithmetic import arithmetic_edits, arithmetic_table
from eval.patching.edits import Edits, possible_edits
from eval.patching.readout import Readout, readouts
from features.directions import ResidueDirections, class_mean_directions, probe_directions
from lm.access import LanguageModel
from lm.errors import OrdinalError
from lm.open import open_model
from lm.ordinals import load_tasks, ordinal_tokens
from lm.planted import PlantedTruth, plant
from training.activations import Activations
from training.harvest import harvest


@dataclass
class Planted:
    truth: PlantedTruth
    model: LanguageModel
    activations: Activations
    readouts: list[Readout]

    def true_directions(self) -> ResidueDirections:
        held_out = torch.tensor(self.activations.held_out(0))
        return ResidueDirections("truth", 0, self.truth.residues, held_out)


def _planted(folder, shuffled: bool) -> Planted:
    truth = plant(folder, seed=1, shuffled=shuffled)
    model = open_model(str(folder))
    tokens = ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 199)))
    return Planted(
        truth, model, harvest(model, tokens), readouts(model, tokens, truth.layer, truth.head)
    )


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planted:
    return _planted(tmp_path_factory.mktemp("planted") / "model", shuffled=False)


@pytest.fixture(scope="module")
def shuffled(tmp_path_factory) -> Planted:
    return _planted(tmp_path_factory.mktemp("shuffled") / "model", shuffled=True)


def test_the_planted_head_is_chosen_and_needs_its_head(planted: Planted) -> None:
    scored = scored_tokens(planted.activations.tokens, (1, 200))
    m = harvest(planted.model, scored).x
    table, choice = head_table(planted.model, scored, m)
    assert (choice.layer, choice.head) == (planted.truth.layer, planted.truth.head)
    assert choice.low > 0.95
    assert choice.runner_up_score < 0.3
    best = table.iloc[0]
    assert best["score_low"] <= best["score"] <= best["score_high"]
    tasks = [name for name in table if name in scored.tasks]
    assert np.isclose(best["score"], best[tasks].astype(float).mean())
    assert (baseline_table(planted.model, scored, m)["score_high"] < 0.2).all()


def test_class_means_and_probe_recover_the_planted_directions(planted: Planted) -> None:
    truth = planted.truth.residues - planted.truth.residues.mean(0)
    for sets in (
        class_mean_directions(planted.activations, 10),
        probe_directions(planted.activations, 10),
    ):
        for directions in sets:
            cosine = torch.cosine_similarity(directions.vectors, truth)
            assert cosine.min() > 0.95


def test_removing_the_true_directions_leaves_the_tens_and_a_tenth_of_the_units(
    planted: Planted,
) -> None:
    table = ablation_table([planted.true_directions()], planted.activations, planted.readouts)
    removed = table[table["ablation"] == "mean"].set_index("removed")
    assert removed.loc["mod-10", "rank"] == 10
    assert removed.loc["mod-10", "ratio"] < 0.25
    assert removed.loc["mod-10", "tens_right"] > 0.75
    assert removed.loc["tens", "units_right"] > 0.9
    random = removed.loc["random, variance matched"]
    assert abs(random["variance_removed"] / removed.loc["mod-10", "variance_removed"] - 1) <= 0.1
    assert random["ratio"] > removed.loc["mod-10", "ratio"] + 0.3


def test_the_true_edits_work_and_their_controls_do_not(planted: Planted) -> None:
    edits = arithmetic_edits([planted.true_directions()], planted.activations, planted.readouts)
    table = arithmetic_table(edits).set_index(["task", "split", "digits", "control"])["success"]
    for task, split in (("numbers", "20-99"), ("number_words", "all"), ("months", "all")):
        assert table[task, split, "0-8", "none"] > 0.95
        assert table[task, split, "0-8", "random"] < 0.1
        assert table[task, split, "0-8", "permuted"] < 0.1
    assert table["numbers", "20-99", "carry", "none"] > 0.95


def test_where_residues_mean_nothing_nothing_is_found(shuffled: Planted) -> None:
    for sets in (
        class_mean_directions(shuffled.activations, 10),
        probe_directions(shuffled.activations, 10),
    ):
        edits = arithmetic_edits(sets, shuffled.activations, shuffled.readouts)
        numbers = edits[(edits["task"] == "numbers") & (edits["control"] == "none")]
        assert numbers["success"].mean() < 0.05


def test_edits_are_all_pairs_that_exist(planted: Planted) -> None:
    days = next(r for r in planted.readouts if r.task == "days")
    edits = possible_edits(days, 10)
    assert len(edits.source) == 7 * 6
    sunday = int(np.flatnonzero(days.index == 7)[0])
    to_monday = (edits.source == sunday) & (edits.j == 1)
    assert days.index[edits.expected[to_monday]].tolist() == [2]
    numbers = next(r for r in planted.readouts if r.task == "numbers")
    _check_numbers(numbers, possible_edits(numbers, 10))


def _check_numbers(readout: Readout, edits: Edits) -> None:
    made = {
        (int(readout.index[s]), int(j), int(readout.index[e]))
        for s, j, e in zip(edits.source, edits.j, edits.expected, strict=True)
    }
    expected = {
        (n, j, n - n % 10 + j + 1)
        for n in range(199)
        for j in range(10)
        if j != n % 10 and n - n % 10 + j + 1 <= 199
    }
    assert made == expected


def test_the_scale_never_sees_the_decades_or_numbers_it_is_tested_on(planted: Planted) -> None:
    """Ruining M on the tested decades must not move the scale that is used there."""
    directions = planted.true_directions()
    table = planted.activations.tokens.table
    numbers = (table["task"] == "numbers").to_numpy()
    tested = torch.tensor(numbers & table["index"].between(60, 99).to_numpy())
    ruined = planted.activations.x.clone()
    # Ruin what the head reads; the class contrast, which fitted numbers of all decades set, stays.
    ruined[tested] += 50 * planted.truth.tens[0]
    honest = arithmetic_edits([directions], planted.activations, planted.readouts)
    other = arithmetic_edits(
        [directions], Activations(ruined, planted.activations.tokens), planted.readouts
    )
    scales = [e[e["split"] == "60-99"]["scale"].unique().tolist() for e in (honest, other)]
    assert scales[0] == scales[1]
    assert len(scales[0]) == 1


def test_a_head_that_is_not_there_is_named(planted: Planted) -> None:
    tokens = planted.activations.tokens
    for layer, head in ((2, 0), (0, 4), (-1, 0)):
        with pytest.raises(OrdinalError, match=rf"no head L{layer}H{head}: its layers are 0 to 1"):
            readouts(planted.model, tokens, layer, head)


def test_directions_of_another_model_and_an_empty_split_are_refused(planted: Planted) -> None:
    true = planted.true_directions()
    narrow = replace(true, vectors=true.vectors[:, :100])
    short = replace(true, held_out=true.held_out[:50])
    fitted_on_all = replace(true, held_out=torch.zeros_like(true.held_out))
    for sets, line in (
        ([narrow], "100 wide, and M.t. 256"),
        ([short], "about 50 tokens"),
        ([fitted_on_all], "hold out no number"),
        ([], "no directions to patch"),
    ):
        for study in (ablation_table, arithmetic_edits):
            with pytest.raises(OrdinalError, match=line):
                study(sets, planted.activations, planted.readouts)
    days = [readout for readout in planted.readouts if readout.task == "days"][:1]
    none = true.held_out & torch.tensor(planted.activations.tokens.table["task"] == "numbers")
    with pytest.raises(OrdinalError, match="No edit can be tested"):
        arithmetic_edits([replace(true, held_out=none)], planted.activations, days)
