"""The intervals cover what was planted, and the claims hold, over forty planted checkpoints.

In each, a share of the numbers is broken (their M is another number's, so that the head cannot
follow them), and for a share of the others M says twice what comes next: through the residues, and
through a part of its own outside their span, which an ablation of the residues leaves. The shares
are drawn number by number, so that what each test reports is an estimate of what was planted.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

from eval.patching.ablation import ablation_table
from eval.patching.arithmetic import arithmetic_edits, arithmetic_table, headline_edits
from eval.patching.doses import dose_response
from eval.patching.readout import Readout, readouts
from eval.patching.rivals import rival_table
from eval.scorecard.necessity import ablation_claims, graded_claim, rescue_claim
from eval.scorecard.sufficiency import arithmetic_claims, rival_claim
from features.directions import ResidueDirections
from lm.open import open_model
from lm.ordinals import FOLDS, load_tasks, ordinal_tokens
from lm.planted import plant
from training.activations import Activations
from training.harvest import harvest

CHECKPOINTS = 40
WORKING = 0.9
"""Chance of each number that its M is its own."""
REDUNDANT = 0.1
"""Chance of each working number that its successor is also said outside the residues' span."""
STRENGTH = 1.0
"""Of that part, in standard deviations of the head's logits: enough to decide among candidates that
the ablation has made alike, and little beside the residues, which an edit moves."""
TRUE = dict.fromkeys(("score", "restored", "edits"), WORKING)
"""What was planted."""
SOURCE = "planted"


class Measured(NamedTuple):
    figures: dict[str, tuple[float, float, float]]
    by_chance: float
    """Left by the same ablation where every number works and none is redundant."""
    verdicts: dict[str, str]


def measured(folder, seed: int) -> Measured:
    truth = plant(folder, seed=seed)
    model = open_model(str(folder))
    tokens = ordinal_tokens(model.tokenizer, {"numbers": load_tasks(numbers=(0, 199))["numbers"]})
    read = readouts(model, tokens, truth.layer, truth.head)
    clean = harvest(model, tokens)
    sets = [
        ResidueDirections(SOURCE, fold, truth.residues, torch.tensor(clean.held_out(fold)))
        for fold in range(FOLDS)
    ]
    by_chance = _left(ablation_table(sets, clean, read, random_subspaces=1))
    activations, read = with_effects(clean, read, np.random.default_rng(seed))
    ablation = ablation_table(sets, activations, read, random_subspaces=4)
    arithmetic = arithmetic_table(arithmetic_edits(sets, activations, read))
    rivals = rival_table(activations, read, 10, 64)
    effects = dose_response(sets, [], activations, read).effects
    removed = _left(ablation)
    edit = headline_edits(arithmetic)
    edit = edit[edit["control"] == "none"].iloc[0]
    claims = [
        *ablation_claims(ablation, 10),
        *arithmetic_claims(arithmetic),
        rescue_claim(ablation, SOURCE, 10),
        graded_claim(effects, SOURCE, 10),
        rival_claim(arithmetic, rivals, SOURCE),
    ]
    reported = {
        "score": (removed, "score_before"),
        "restored": (removed, "restored"),
        "left": (removed, "ratio"),
        "edits": (edit, "success"),
    }
    return Measured(
        {
            name: tuple(row[f"{column}{end}"] for end in ("", "_low", "_high"))
            for name, (row, column) in reported.items()
        },
        by_chance["ratio"],
        {claim.criterion: claim.verdict for claim in claims},
    )


def _left(ablation: pd.DataFrame) -> pd.Series:
    return ablation[(ablation["removed"] == "mod-10") & (ablation["ablation"] == "mean")].iloc[0]


def with_effects(
    clean: Activations, read: list[Readout], rng: np.random.Generator
) -> tuple[Activations, list[Readout]]:
    """The planted M and head, both spellings alike, with broken and redundant numbers in them."""
    works = rng.random(200) < WORKING
    twice = np.flatnonzero(works & (rng.random(200) < REDUNDANT))
    other = {
        n: rng.choice([m for m in range(200) if m % 10 != n % 10]) for n in np.flatnonzero(~works)
    }
    x = clean.x.clone()
    held = torch.cat([clean.x, *(readout.circuit.kernel.T for readout in read)])
    outside = torch.linalg.qr(torch.linalg.svd(held, full_matrices=True).Vh[-len(twice) :].T).Q.T
    length = clean.x.norm(dim=1).mean()
    changed = []
    for readout in read:
        kernel = readout.circuit.kernel.clone()
        spread = readout.circuit.logits(clean.x[readout.rows]).std()
        place = {int(n): at for at, n in enumerate(readout.index)}
        for n, instead in other.items():
            x[readout.rows[place[n]]] = clean.x[readout.rows[place[instead]]]
        for n, own in zip(twice, outside, strict=True):
            if (successor := readout.successor[place[n]]) >= 0:
                x[readout.rows[place[n]]] += length * own
                kernel[:, successor] += STRENGTH * spread / length * own
        changed.append(replace(readout, circuit=replace(readout.circuit, kernel=kernel)))
    return Activations(x, clean.tokens), changed


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> list[Measured]:
    folder = tmp_path_factory.mktemp("planted")
    return [measured(folder / "model", seed) for seed in range(CHECKPOINTS)]


def test_intervals_cover_what_was_planted(checkpoints: list[Measured]) -> None:
    by_chance = np.mean([one.by_chance for one in checkpoints])
    planted = dict(TRUE)
    planted["left"] = REDUNDANT + (1 - REDUNDANT) * by_chance
    covered = {
        name: np.mean([one.figures[name][1] <= true <= one.figures[name][2] for one in checkpoints])
        for name, true in planted.items()
    }
    assert all(share >= 0.9 for share in covered.values()), covered


def test_estimates_are_not_biased(checkpoints: list[Measured]) -> None:
    """On average over checkpoints, within three standard errors."""
    for name, true in TRUE.items():
        values = np.array([one.figures[name][0] for one in checkpoints])
        error = values.std(ddof=1) / np.sqrt(len(values))
        assert abs(values.mean() - true) < 3 * error, (name, values.mean(), error)


def test_the_claims_come_out_supported(checkpoints: list[Measured]) -> None:
    verdicts = pd.DataFrame([one.verdicts for one in checkpoints])
    assert (verdicts == "supported").mean().min() >= 0.9, verdicts.apply(pd.Series.value_counts)
