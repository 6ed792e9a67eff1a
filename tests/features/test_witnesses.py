import numpy as np
import torch
from scipy.stats import mannwhitneyu

from features.directions import ResidueDirections
from features.witnesses import auroc, read_space, witness_summary, witness_table
from lm.ordinals import FOLDS
from tests.features.made_up import D_MODEL, directions, made_up, tokens

NUMBERS = tokens("numbers")
MODULUS = 5
AXES = directions(MODULUS + 1)
ACTIVATIONS = made_up(
    NUMBERS, lambda _, n: 2 * AXES[n % MODULUS] + n / 60 * AXES[MODULUS], noise=0.1
)


def _table(neurons: np.ndarray):
    planted = torch.tensor(AXES[:MODULUS]).float()
    sae = [
        ResidueDirections("SAE", fold, planted, torch.tensor(ACTIVATIONS.held_out(fold)))
        for fold in range(FOLDS)
    ]
    reads = read_space(torch.tensor(AXES.T).float())
    return witness_table(
        sae, range(FOLDS), ACTIVATIONS, reads, neurons=torch.tensor(neurons).float()
    )


def test_every_witness_finds_the_planted_residues() -> None:
    rng = np.random.default_rng(0)
    neurons = np.concatenate([rng.standard_normal((20, D_MODEL)), 3 * AXES[:MODULUS]])
    table = _table(neurons)
    found = witness_summary(table).set_index("witness").to_dict("index")
    assert set(found) == {"SAE", "class means", "probe", "ICA", "neurons"}
    for row in found.values():
        assert row["auroc"] > 0.9
        assert row["n"] == MODULUS
    for name in ("class means", "probe", "neurons"):
        assert found[name]["cosine_contrast"] > 0.75 > found[name]["cosine_random"] - 0.1
    # Residues exclude each other: five vary in four dimensions, too few for five components.
    assert found["ICA"]["cosine_contrast"] > 0.6
    assert found["neurons"]["cosine"] > 0.99
    # A class mean less the mean of all: f_r - mean f, which keeps sqrt(1 - 1/5) of f_r.
    assert np.isclose(found["class means"]["cosine"], np.sqrt(1 - 1 / MODULUS), atol=0.05)
    chosen = table[table["witness"] == "neurons"]
    assert (chosen["chosen"] == 20 + chosen["residue"]).all()
    assert set(chosen["candidates"]) == {20 + MODULUS}


def test_neurons_that_know_no_residue_are_no_better_than_the_control() -> None:
    rng = np.random.default_rng(1)
    summary = witness_summary(_table(rng.standard_normal((30, D_MODEL))))
    neurons = summary.set_index("witness").to_dict("index")["neurons"]
    assert neurons["cosine"] < neurons["cosine_random"]


def test_the_area_is_the_mann_whitney_statistic_ties_included() -> None:
    rng = np.random.default_rng(2)
    scores, positive = rng.integers(0, 5, (40, 3)).astype(float), rng.random(40) < 0.3
    for column, area in enumerate(auroc(scores, positive)):
        u = mannwhitneyu(scores[positive, column], scores[~positive, column]).statistic
        assert np.isclose(area, u / (positive.sum() * (~positive).sum()))


def test_what_a_kernel_reads_is_its_column_space() -> None:
    generator = torch.Generator().manual_seed(0)
    factors = torch.randn(20, 3, generator=generator), torch.randn(3, 50, generator=generator)
    basis = read_space(factors[0] @ factors[1])
    assert basis.shape == (20, 3)
    assert torch.allclose(basis @ (basis.T @ factors[0]), factors[0], atol=1e-4)
