"""Features of every kind, planted in made-up activity: found as what they are, or not at all."""

import numpy as np
import pandas as pd
import pytest

from features.discovery import Features, discover
from lm.ordinals import FOLDS, assign_folds

WORDS = {"days": 7, "months": 12, "letters": 26, "number_words": 20}
NUMBERS = 300


def _table() -> pd.DataFrame:
    rows = []
    for task, size in {"numbers": NUMBERS, **WORDS}.items():
        folds = assign_folds(list(range(1, size + 1)), seed=0)
        forms = ["space", "bare"] if task == "numbers" else ["space lower", "space capital"]
        rows += [(task, i, form, folds[i], False) for form in forms for i in folds]
    return pd.DataFrame(rows, columns=["task", "index", "form", "fold", "held_out_task"])


TABLE = _table()
INDEX, TASK = TABLE["index"].to_numpy(), TABLE["task"].to_numpy()
IN_NUMBERS = TASK == "numbers"
TRUTHS = {
    "mod10/3": IN_NUMBERS & (INDEX % 10 == 3),
    "mod7/2": IN_NUMBERS & (INDEX % 7 == 2),
    "mod5/4": IN_NUMBERS & (INDEX % 5 == 4),
    "mod2/1": IN_NUMBERS & (INDEX % 2 == 1),
    "mod20/13": IN_NUMBERS & (INDEX % 20 == 13),
    "tens/4": IN_NUMBERS & (INDEX // 10 % 10 == 4),
    "hundreds/1": IN_NUMBERS & (INDEX // 100 == 1),
    "interval/60-69": IN_NUMBERS & (INDEX // 10 == 6),
    "ordinal/numbers": IN_NUMBERS * INDEX / NUMBERS,
    "magnitude/numbers": np.where(IN_NUMBERS, np.log1p(INDEX) / np.log1p(NUMBERS), 0.8),
    "ordinal/shared": INDEX / TABLE.groupby("task")["index"].transform("max").to_numpy(),
    "task/letters": TASK == "letters",
    "task/days+months": np.isin(TASK, ["days", "months"]),
    "task/words": ~IN_NUMBERS,
    "form/capital": TABLE["form"].str.contains("capital").to_numpy(),
}


def _noisy(truth: np.ndarray, rng: np.random.Generator, noise: float) -> np.ndarray:
    return truth * (1 - 0.2 * rng.random(len(truth))) + noise * rng.random(len(truth))


def _features(values: np.ndarray) -> list[Features]:
    """The same features as every fold's member has them."""
    return [Features(values, (TABLE["fold"] == f).to_numpy(), f) for f in range(FOLDS)]


@pytest.fixture(scope="module")
def found() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    values = np.stack([_noisy(truth * 1.0, rng, 0.1) for truth in TRUTHS.values()], axis=1)
    rows = discover(_features(values), TABLE, permutations=500)
    return rows.assign(truth=list(TRUTHS) * FOLDS)


@pytest.mark.parametrize("truth", TRUTHS)
def test_each_kind_is_found_as_what_it_is(found: pd.DataFrame, truth: str) -> None:
    rows = found[found["truth"] == truth]
    assert (rows["best"] == truth).all(), rows["best"].tolist()
    # A member that holds out no number of an interval, or no day, cannot confirm it.
    testable = rows["r2_held_out"].notna()
    assert testable.sum() >= FOLDS - 2
    assert (rows.loc[testable, "label"] == truth).mean() >= 0.8
    assert (rows.loc[~testable, "label"] == "neither").all()


def test_a_label_comes_with_its_evidence(found: pd.DataFrame) -> None:
    labelled = found[found["label"] != "neither"]
    assert (labelled["q_value"] <= 0.05).all()
    assert (labelled["q_held_out"] <= 0.05).all()
    assert (labelled["r2"] >= 0.5).all()
    assert (labelled["n_tokens"] > 0).all()


def test_shuffled_indices_leave_task_and_form_and_nothing_else() -> None:
    runs_with_a_label = 0
    for run in range(10):
        rng = np.random.default_rng(run)
        moved = np.arange(len(TABLE))
        for _, rows in TABLE.groupby(["task", "form"]):
            # One seed for all spellings of a task, which so move together.
            shuffle = np.random.default_rng([run, len(rows)]).permutation(len(rows))
            moved[rows.index] = rows.index.to_numpy()[shuffle]
        values = np.stack([_noisy(truth * 1.0, rng, 0.1) for truth in TRUTHS.values()], axis=1)
        labels = discover(_features(values[moved])[:1], TABLE, permutations=200, seed=run)["label"]
        kinds = labels.str.split("/").str[0]
        runs_with_a_label += bool((~kinds.isin(["task", "form", "neither"])).any())
    assert runs_with_a_label <= 2
