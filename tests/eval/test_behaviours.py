"""Heads whose one behaviour is known, by hand or planted, and what guessing would get."""

from itertools import product

import numpy as np
import pytest
import torch

from eval.heads.behaviours import behaviour_groups, behaviour_table, guessing_p
from eval.heads.induction import induction_scores, induction_table
from eval.heads.roles import copying_head
from eval.heads.successor import halves, head_table, is_source, reported_on, scored_tokens
from eval.heads.words import other_words
from features.statistics import clusters
from lm.bridged import BridgedModel
from lm.open import open_model
from lm.ordinals import NO_SUCCESSOR, OrdinalTokens, load_tasks, ordinal_tokens
from lm.planted import PlantedTruth, plant
from lm.planted.vocabulary import vocabulary
from tests.eval.hand_made import HandMadeModel
from training.harvest import harvest

BEHAVIOURS = ("succession", "copying", "predecessor", "skip-one", "acronym")


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> tuple[str, PlantedTruth]:
    folder = tmp_path_factory.mktemp("behaviours") / "model"
    return str(folder), plant(folder, seed=1)


def moves(tokens: OrdinalTokens) -> list[dict[int, int]]:
    """What each behaviour makes of each token, written down from the texts and the indices."""
    texts = dict(zip(tokens.table["text"], tokens.table["token_id"], strict=True))
    out = [{}, {}, {}, {}, {}]
    for _, rows in tokens.table.groupby(["task", "form"]):
        at = dict(zip(rows["index"], rows["token_id"], strict=True))
        round_ = int(rows["successor"].ne(NO_SUCCESSOR).all()) * len(at)
        for index, token in at.items():
            for move, step in zip(out, (1, 0, -1, 2), strict=False):
                place = (index + step - 1) % round_ + 1 if round_ else index + step
                if place in at:
                    move[token] = at[place]
    for text, token in texts.items():
        word = text.strip()
        if word.isalpha() and len(word) > 1:
            out[4][token] = texts[" " * text.startswith(" ") + word[0].upper()]
    return out


@pytest.fixture(scope="module")
def hand_made() -> tuple[HandMadeModel, OrdinalTokens]:
    everything = vocabulary(29)
    # `May` is a month and a month prefix: one head cannot write both of its successors.
    prefix = everything.tokens.table["task"] == "month_prefixes"
    tokens = everything.tokens.select((~prefix).to_numpy())
    return HandMadeModel(everything.tokenizer, moves(tokens)), tokens


def test_each_hand_made_head_is_recognised_by_its_one_behaviour(hand_made) -> None:
    model, tokens = hand_made
    m = harvest(model, tokens).x
    heads = {name: (0, number) for number, name in enumerate(BEHAVIOURS)}
    table = behaviour_table(model, tokens, m, heads)
    score = table[table["task"] == "all"].set_index(["role", "behaviour"])
    for role, behaviour in product(BEHAVIOURS, BEHAVIOURS):
        row = score.loc[role, behaviour]
        assert row["score"] == (1 if role == behaviour else 0)
        assert row["score_low"] <= row["score"] <= row["score_high"]
        assert (row["p_value"] < 1e-6) == (role == behaviour)


def test_the_copying_head_is_found(hand_made) -> None:
    model, tokens = hand_made
    assert copying_head(model, tokens, harvest(model, tokens).x, seed=0) == (0, 1)


def test_an_acronym_head_gets_no_credit_for_the_commonest_initial(hand_made) -> None:
    """Writing T whatever is read is right for six number words of twenty."""
    model, tokens = hand_made
    groups = behaviour_groups(tokens, model.tokenizer)["acronym"]
    words = [group for group in groups if group.task == "number_words"]
    assert len(words) == 4
    for _, group, chance in words:
        assert len(group.candidates) == 26
        assert chance == pytest.approx(6 / 20)


def test_guessing_is_binomial_over_elements() -> None:
    chance = {"a": 0.5, "b": 0.25}
    cluster = np.array([0, 0, 1, 2, 3])
    task = np.array(["a", "a", "a", "b", "b"])
    success = np.array([1, 1, 0, 1, 0])  # both spellings of element 0 are one trial
    shares = [0.5, 0.5, 0.25, 0.25]
    reached = 0.0
    for outcome in product((0, 1), repeat=4):
        if sum(outcome) >= 2:
            p = [s if hit else 1 - s for s, hit in zip(shares, outcome, strict=True)]
            reached += float(np.prod(p))
    assert guessing_p(success, cluster, task, chance) == pytest.approx(reached)
    assert guessing_p(np.zeros(5), cluster, task, chance) == pytest.approx(1)


def test_the_planted_head_counts_and_does_nothing_else(planted) -> None:
    model, truth = open_model(planted[0]), planted[1]
    tokens = scored_tokens(ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 199))), (1, 199))
    m = harvest(model, tokens).x
    choice = head_table(model, tokens, m)[1]
    heads = {
        "successor head": (choice.layer, choice.head),
        "runner-up": (choice.runner_up_layer, choice.runner_up_head),
    }
    table = behaviour_table(model, tokens, m, heads).set_index(["role", "behaviour", "task"])
    assert heads["successor head"] == (truth.layer, truth.head)
    counted = table.loc["successor head", "succession", "all"]
    assert counted["score"] == choice.score == 1
    assert counted["n_tokens"] == choice.n_tokens
    for name in ("copying", "predecessor", "skip-one", "acronym"):
        row = table.loc["successor head", name, "all"]
        assert row["score_low"] <= row["chance"]
        assert row["p_value"] > 0.05
    rival = table.loc["runner-up", "succession", "all"]
    assert rival["ratio"] == pytest.approx(1 / rival["score"])
    assert 1 < rival["ratio_low"] < rival["ratio"] < rival["ratio_high"]


def test_what_is_reported_on_is_what_the_head_was_not_chosen_on(planted) -> None:
    model = open_model(planted[0])
    tokens = scored_tokens(ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 199))), (1, 199))
    sources = tokens.table[is_source(tokens)]
    chosen_on = halves(sources, 3)
    cluster = clusters(sources)
    assert not set(cluster[chosen_on]) & set(cluster[~chosen_on])
    assert abs(len(set(cluster[chosen_on])) - len(set(cluster[~chosen_on]))) <= 1
    reported = reported_on(tokens, tokens, 3)
    assert (reported[is_source(tokens)] == ~chosen_on).all()
    assert reported[~is_source(tokens)].all() or not tokens.table["successor"].eq(-1).any()


def test_attention_to_what_came_next_last_time_scores_one() -> None:
    period, n = 3, 6
    pattern = torch.zeros(1, 2, n, n)
    for query in range(n):
        pattern[0, 0, query, query - period + 1 if query >= period else 0] = 1
        pattern[0, 1, query, : query + 1] = 1 / (query + 1)
    even = (1 / 4 + 1 / 5 + 1 / 6) / 3
    assert torch.allclose(induction_scores(pattern, period), torch.tensor([[1.0, even]]))


def test_random_heads_are_no_induction_heads(planted) -> None:
    model = open_model(planted[0], route="bridged")
    assert isinstance(model, BridgedModel)
    table = induction_table(model)
    assert len(table) == model.info.n_layers * model.info.n_heads
    assert (table["score_low"] <= table["score"]).all()
    assert (table["score_low"] <= table["chance"]).all()
    assert table["chosen_on"].is_monotonic_decreasing


def test_other_words_are_words_and_no_numerals() -> None:
    model = open_model("counting")
    tokens = ordinal_tokens(model.tokenizer)
    words = other_words(model.tokenizer, tokens)
    texts = {model.tokenizer.decode([int(token)]) for token in words}
    assert {" bread", " river", " old"} <= texts
    assert not texts & set(tokens.table["text"])
    assert not texts & {" eleventh", " twentieth", " thirty", " ninety"}
    some = other_words(model.tokenizer, tokens, count=10, seed=1)
    assert len(some) == 10
    assert set(some.tolist()) <= set(words.tolist())
