"""The successor head of `counting` in context, and heads and operators that should do nothing."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch

from eval.context.edits import context_edits_table
from eval.context.families import Context, prepare
from eval.context.in_context import in_context_table
from eval.context.paths import HeadInContext
from eval.heads.successor import HeadChoice
from eval.patching.operators import Add, Replace
from eval.patching.readout import readouts
from features.directions import class_mean_directions
from features.statistics import clusters
from lm.bridged import BridgedModel
from lm.open import open_model
from lm.ordinals import load_tasks, ordinal_tokens
from lm.planted import plant
from training.activations import Activations
from training.harvest import harvest


@dataclass
class Counting:
    model: BridgedModel
    activations: Activations
    context: Context


def _choice(head: int, runner_up: int) -> HeadChoice:
    """Heads of the second layer; the scores are not read."""
    return HeadChoice(1, head, 1, 1, 1, 1, runner_up, 0, 0, 0)


def _context(model: BridgedModel, activations: Activations, head: int, runner_up: int) -> Context:
    read = readouts(model, activations.tokens, 1, head)
    return prepare(model, activations.tokens, read, _choice(head, runner_up))


@pytest.fixture(scope="module")
def counting() -> Counting:
    model = open_model("counting", "bridged")
    assert isinstance(model, BridgedModel)
    tokens = ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 200)))
    activations = harvest(model, tokens)
    return Counting(model, activations, _context(model, activations, head=0, runner_up=3))


@pytest.fixture(scope="module")
def table(counting: Counting) -> pd.DataFrame:
    return in_context_table(counting.context).set_index(["family", "task"])


def test_without_its_head_the_model_does_not_count_and_without_another_it_does(table) -> None:
    for _, row in table.xs("all", level="task").iterrows():
        assert row["accuracy"] > 0.95
        assert row["ablated_accuracy_high"] < 0.3
        assert row["control_accuracy_low"] > 0.9
        assert row["direct_low"] > 1
        assert row["total_low"] > 1
        assert abs(row["control_total"]) < 0.3 * row["total"]
        assert row["compensated"] == pytest.approx(1 - row["total"] / row["direct"])
        assert row["compensated_low"] <= row["compensated"] <= row["compensated_high"]


def test_the_weights_say_what_the_head_writes_in_context(table) -> None:
    every = table.xs("all", level="task")
    assert (every["agreement_low"] > 0.9).all()
    assert (every["agreement_shuffled_high"] < 0.1).all()
    assert (every["attention_low"] > 0.5).all()


def test_all_is_the_mean_over_tasks_without_those_held_out(counting, table) -> None:
    held_out = {"roman_numerals"}
    assert set(counting.activations.tokens.table.query("held_out_task")["task"]) == held_out
    for family, rows in table.groupby(level="family"):
        tasks = rows.droplevel("family").drop(["all", *held_out])
        for name in ("accuracy", "margin", "direct", "total", "attention"):
            assert table.loc[(family, "all"), name] == pytest.approx(tasks[name].mean())


def test_the_prompts_of_one_half_choose_and_those_of_the_other_are_reported(
    counting, monkeypatch
) -> None:
    tokens, run, seen = counting.activations.tokens, HeadInContext.run, []

    def watched(self, ids):
        seen.extend(map(tuple, ids.tolist()))
        return run(self, ids)

    monkeypatch.setattr(HeadInContext, "run", watched)
    context = prepare(counting.model, tokens, counting.context.readouts, _choice(0, 3))
    element = clusters(tokens.table)
    for family in context.families:
        assert not {tuple(prompt.ids.tolist()) for prompt in family.prompts} & set(seen)
        assert len(set(element[family.rows])) < 0.55 * len(set(element))
    reported = [set(element[family.rows]) for family in context.families]
    lists, sequences, statements, numbered = reported
    assert lists | sequences | numbered <= statements  # the same half in every family


def test_a_template_that_the_model_cannot_follow_is_not_chosen(counting) -> None:
    """`counting` has never read "the number after 5 is"."""
    statements = next(f for f in counting.context.families if f.name == "statements")
    assert statements.templates == (" after #{} comes #", " after{} comes")


def test_a_head_that_does_not_count_has_no_effect_to_compensate(counting) -> None:
    context = _context(counting.model, counting.activations, head=3, runner_up=0)
    table = in_context_table(context).set_index(["family", "task"]).xs("all", level="task")
    assert (table["ablated_accuracy_low"] > 0.9).all()
    assert (table["control_accuracy_high"] < 0.3).all()
    assert (table["direct"].abs() < 0.5).all()
    nothing_shown = table["direct_low"] <= 0
    assert table.loc[nothing_shown, "compensated"].isna().all()
    assert (table["agreement"] < table["agreement_shuffled"] + 0.5).all()


def test_edits_of_class_means_make_the_model_say_the_edited_successor(counting) -> None:
    activations = counting.activations
    sets = class_mean_directions(activations, 10)
    operators = [kind(directions, activations) for directions in sets for kind in (Add, Replace)]
    table = context_edits_table(counting.context, operators, activations, edits=60)
    every = table[table["task"] == "all"]
    assert set(every["operator"]) == {"add", "replace"}
    assert (every["n_members"] == len(sets)).all()
    for name in ("value_direct", "value_total", "everywhere_total"):
        assert (every[f"random_{name}_high"] < every[f"{name}_low"]).all()
    assert (every["value_total"] > 0.7).all()
    assert (every["weights"] > 0.7).all()
    assert (every["random_value_total"] < 0.15).all()
    assert (every["clean"] > 0.95).all()


def test_sources_are_held_out_and_of_the_reported_half(counting) -> None:
    activations = counting.activations
    first = class_mean_directions(activations, 10)[0]
    none_left = replace(first, held_out=torch.zeros_like(first.held_out))
    assert context_edits_table(
        counting.context, [Add(none_left, activations)], activations, edits=20
    ).empty
    table = context_edits_table(
        counting.context, [Add(first, activations)], activations, edits=5000
    )
    held_out = first.held_out.numpy()
    for family in counting.context.families:
        found = table[(table["family"] == family.name) & (table["task"] == "numbers")]
        numbers = (activations.tokens.table["task"] == "numbers").to_numpy()
        rows = family.rows[held_out[family.rows] & numbers[family.rows]]
        assert found["n_tokens"].tolist() == [len(np.unique(rows))]


def test_the_part_of_another_residue_than_was_asked_for_gives_something_else(counting) -> None:
    activations = counting.activations
    operators = [_Shifted(d, activations) for d in class_mean_directions(activations, 10)]
    table = context_edits_table(counting.context, operators, activations, edits=60)
    every = table[table["task"] == "all"]
    assert (every[["value_total_high", "everywhere_total_high"]] < 0.3).all(axis=None)


class _Shifted(Replace):
    def given(self, rows):
        return self.means[(self.residue[rows] + 4) % self.directions.modulus]


@pytest.mark.parametrize("family", ["gpt_neox", "llama"])
def test_in_a_model_that_was_never_trained_nothing_is_found(family, checkpoint) -> None:
    model = open_model(str(checkpoint(family)), "bridged")
    assert isinstance(model, BridgedModel)
    activations = harvest(model, ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 60))))
    context = _context(model, activations, head=2, runner_up=1)
    assert context.families
    table = in_context_table(context).query("task == 'all' and n_prompts > 0")
    assert (table["accuracy"] < 0.4).all()
    assert not (table["ablated_accuracy_high"] < table["control_accuracy_low"]).any()
    operators = [
        Add(directions, activations) for directions in class_mean_directions(activations, 10)
    ]
    edits = context_edits_table(context, operators, activations, edits=100).query("task == 'all'")
    assert (edits[["value_total", "everywhere_total", "weights"]] < 0.3).all(axis=None)


def test_a_model_whose_words_are_unknown_says_why_it_was_not_asked(tmp_path) -> None:
    truth = plant(tmp_path / "model", seed=0)
    model = open_model(str(tmp_path / "model"), "bridged")
    assert isinstance(model, BridgedModel)
    tokens = ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 199)))
    read = readouts(model, tokens, truth.layer, truth.head)
    choice = HeadChoice(truth.layer, truth.head, 1, 1, 1, truth.layer, truth.head - 1, 0, 0, 0)
    table = in_context_table(prepare(model, tokens, read, choice))
    assert set(table["n_prompts"]) == {0}
    assert table["left_out"].str.contains("the tokenizer does not know").all()
