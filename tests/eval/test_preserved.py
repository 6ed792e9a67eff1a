"""What reconstructions keep of succession, for dictionaries whose answer is known."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from eval.dictionaries.frontier import cell_tables, recommend
from eval.dictionaries.preserved import Preserved, preserved, read_reconstructions, token_rows
from eval.patching.readout import Readout, readouts
from eval.patching.subspaces import remove, span
from lm.open import open_model
from lm.ordinals import OrdinalTokens, load_tasks, ordinal_tokens
from lm.planted import PlantedTruth, plant
from sae.ensemble import SAEEnsemble
from sae.relu import ReLUSAE
from training.activations import Activations
from training.harvest import harvest


@dataclass
class Known:
    """A stand-in for an SAE: any reconstruction."""

    decode: Callable[[Tensor], Tensor]

    def encode(self, x: Tensor) -> Tensor:
        return x


@dataclass
class Planted:
    truth: PlantedTruth
    activations: Activations
    readouts: list[Readout]

    def score(self, sae, rows: np.ndarray | None = None) -> Preserved:
        """Of one member; over all tokens unless some are given."""
        success = read_reconstructions(ensemble([sae]), self.activations, self.readouts)
        rows = np.ones(len(self.activations.x), bool) if rows is None else rows
        return preserved(success, rows[None], self.activations.tokens.table)


def ensemble(members: list) -> SAEEnsemble:
    folds = [member % 5 for member in range(len(members))]
    return SAEEnsemble(members, folds, folds, "planted", "blocks.0.hook_mlp_out")


def exact(d: int) -> ReLUSAE:
    """Each coordinate's positive and negative part has a latent: `relu(x) - relu(-x) = x`."""
    both = torch.cat([torch.eye(d), -torch.eye(d)])
    return ReLUSAE(W_enc=both.T, b_enc=torch.zeros(2 * d), W_dec=both, b_dec=torch.zeros(d))


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planted:
    folder = tmp_path_factory.mktemp("planted") / "model"
    truth = plant(folder, seed=1)
    model = open_model(str(folder))
    tokens = ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 199)))
    read = readouts(model, tokens, truth.layer, truth.head)
    return Planted(truth, harvest(model, tokens), read)


def test_a_perfect_reconstruction_keeps_exactly_what_the_head_makes_of_m(planted: Planted) -> None:
    score = planted.score(exact(planted.activations.x.shape[1]))
    assert score.preserved == score.control_m == score.control_shifted
    assert score.control_m > 0.95
    sources = sum(len(read.sources) for read in planted.readouts)
    assert score.n_tokens == sources


def test_decoding_to_the_mean_is_right_no_more_often_than_guessing(planted: Planted) -> None:
    """The head then writes one element for all: the successor of one source at most."""
    mean = planted.activations.x.mean(0)
    success = read_reconstructions(
        ensemble([Known(lambda x: mean.expand_as(x))]), planted.activations, planted.readouts
    )
    for read in planted.readouts:
        assert success[0, 0, read.rows[read.sources]].sum() <= 1
    table = planted.activations.tokens.table
    sizes = table.groupby(["task", "form"]).size()
    chance = np.mean([1 / (sizes[task].min() - 1) for task in table["task"].unique()])
    everything = np.ones((1, len(table)), bool)
    assert preserved(success, everything, table).preserved <= chance


def test_losing_what_the_head_reads_costs_more_than_a_random_shift_as_long(
    planted: Planted,
) -> None:
    mean = planted.activations.x.mean(0)
    residues = span(planted.truth.residues - planted.truth.residues.mean(0))
    score = planted.score(Known(lambda x: remove(x, residues, mean)))
    assert score.preserved < 0.4
    assert score.preserved_high < score.control_shifted


def test_the_shift_lies_where_m_varies_and_costs_more_than_any_direction(planted: Planted) -> None:
    """An SAE whose own error is isotropic loses less than its control of the same length."""
    m = planted.activations.x
    noise = torch.randn(m.shape, generator=torch.Generator().manual_seed(0))
    score = planted.score(Known(lambda x: x + 5 * torch.nn.functional.normalize(noise, dim=1)))
    assert score.control_shifted < score.preserved_low


def test_a_dictionary_of_the_fitted_tokens_keeps_them_and_no_others(planted: Planted) -> None:
    activations = planted.activations
    numbers = (activations.tokens.table["task"] == "numbers").to_numpy()
    (fitted,), (held_out,) = token_rows(activations, [0])
    known = activations.x[torch.tensor(activations.fit_rows(0))]
    memory = Known(lambda x: known[torch.cdist(x, known).argmin(1)])
    assert planted.score(memory, fitted & numbers).preserved > 0.95
    assert planted.score(memory, held_out & numbers).preserved < 0.2


def test_a_token_counts_once_however_many_members_held_it_out(planted: Planted) -> None:
    table = planted.activations.tokens.table
    sae = exact(planted.activations.x.shape[1])
    success = read_reconstructions(ensemble([sae] * 3), planted.activations, planted.readouts)
    success[2, 0] = np.where(np.isnan(success[2, 0]), np.nan, 0)  # one of three always fails
    rows = np.ones((3, len(table)), bool)
    whole = preserved(success[:1], rows[:1], table)
    pooled = preserved(success, rows, table)
    assert pooled.n_tokens == whole.n_tokens
    assert pooled.preserved == pytest.approx(whole.preserved * 2 / 3)


def test_no_token_is_both_chosen_on_and_reported(planted: Planted) -> None:
    """A word of two tasks that fall in two folds is held out by members of both."""
    table = planted.activations.tokens.table
    twice = table["token_id"].duplicated(keep=False) & ~table["held_out_task"]
    assert twice.any()
    here = table["token_id"] == table.loc[twice, "token_id"].iloc[0]
    folds = table["fold"].to_numpy().copy()
    folds[here] = [0, 3]
    dataset = planted.activations.tokens.dataset
    dataset = dataset.remove_columns("fold").add_column("fold", folds)  # pyright: ignore
    activations = replace(planted.activations, tokens=OrdinalTokens(dataset))
    members = ensemble([exact(activations.x.shape[1])] * 5)
    row, by_member = cell_tables(members, activations, planted.readouts)
    (_, held_out) = token_rows(activations, range(5))
    sources = np.zeros(len(table), bool)
    for read in planted.readouts:
        sources[read.rows[read.sources]] = True
    assert (held_out[:, sources].sum(0) == 2).sum() == (sources & here).sum() > 0
    assert row["n_tokens"] + row["choice_n_tokens"] == (held_out.any(0) & sources).sum()
    assert list(by_member["split"]) == ["choice"] * 2 + ["report"] * 3
    assert (by_member["fvu_held_out"] < 1e-6).all()


@pytest.fixture
def cells() -> pd.DataFrame:
    """The second and third are as good as the first and equally sparse; the fourth loses."""
    return pd.DataFrame(
        {
            "choice_preserved": [0.990, 0.975, 0.980, 0.900],
            "choice_standard_error": [0.005, 0.2, 0.2, 0.2],
            "choice_l0": [20.0, 9.98, 10.04, 5.0],
            "choice_dead": [0.0, 5.0, 1.0, 0.0],
            "preserved": [0.90, 0.90, 0.95, 0.99],
            "preserved_standard_error": [0.01, 0.01, 0.01, 0.01],
        }
    )


def test_the_sparsest_cell_near_the_best_is_recommended(cells: pd.DataFrame) -> None:
    found = recommend(cells)
    assert list(found["passes_choice"]) == [True, True, True, False]
    assert list(found["recommended"]) == [False, False, True, False]


def test_the_report_can_disagree_but_not_change_the_choice(cells: pd.DataFrame) -> None:
    assert list(recommend(cells)["passes_report"]) == [False, False, False, True]
    agreeing = recommend(cells.assign(preserved=[0.96, 0.90, 0.95, 0.90]))
    assert list(agreeing["passes_report"]) == [True, False, True, False]
    assert list(agreeing["recommended"]) == [False, False, True, False]


def test_a_wide_standard_error_lets_sparser_cells_pass(cells: pd.DataFrame) -> None:
    cells.loc[0, "choice_standard_error"] = 0.1
    assert list(recommend(cells)["recommended"]) == [False, False, False, True]
