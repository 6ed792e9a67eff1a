"""Which tokens count as ordinal, in the kinds of tokenizers that models have."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from lm.errors import OrdinalError, UsageError
from lm.ordinals import FOLDS, OrdinalTask, load_tasks, ordinal_tokens, single_tokens
from tests.checkpoints import byte_level_tokenizer, sentencepiece_tokenizer


@pytest.fixture(scope="module")
def tokens():
    return ordinal_tokens(byte_level_tokenizer(), load_tasks(numbers=(0, 60)))


def test_byte_level_single_tokens_are_those_that_encode_to_one_token():
    tokenizer = byte_level_tokenizer()
    texts = [" 12", "12", " 999", "999", " Monday", "monday", " xylophone", "Ġ12", "é", " the 12"]
    found = single_tokens(texts, tokenizer)
    expected = {
        text: ids[0]
        for text in texts
        if len(ids := tokenizer.encode(text, add_special_tokens=False).ids) == 1
    }
    assert found == expected
    assert {" 12", "12", " Monday"} <= found.keys()
    assert found[" 12"] != found["12"]


def test_an_entry_of_the_vocabulary_that_no_text_reaches_does_not_count():
    """Merges that are never applied leave dead entries in real vocabularies."""
    vocabulary = {"1": 0, "2": 1, "12": 2, "Ġ": 3, "Ġ1": 4}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[("Ġ", "1")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert single_tokens(["12", "1", " 1"], tokenizer) == {"1": 0, " 1": 4}


def test_sentencepiece_spells_a_space_as_an_underline():
    tokenizer = sentencepiece_tokenizer(["▁Monday", "Monday", "▁12", "▁the", "1", "2"])
    found = single_tokens([" Monday", "Monday", " 12", "12", "1"], tokenizer)
    vocabulary = tokenizer.get_vocab()
    assert found == {
        " Monday": vocabulary["▁Monday"],
        "Monday": vocabulary["Monday"],
        " 12": vocabulary["▁12"],
        "1": vocabulary["1"],
    }


def test_a_tokenizer_that_splits_numbers_has_none_above_nine():
    words = ["▁Monday", "▁Tuesday", "▁", *"0123456789"]
    tokens = ordinal_tokens(sentencepiece_tokenizer(words))
    numbers = tokens.table[tokens.table["task"] == "numbers"]
    assert sorted(numbers["index"]) == list(range(10))
    assert tokens.missing["numbers"] == 2 * 501 - 10


def test_no_ordinal_token_at_all():
    with pytest.raises(OrdinalError, match="None of the ordinal words"):
        ordinal_tokens(sentencepiece_tokenizer(["▁xylophone"]))


def test_successors_keep_the_spelling(tokens):
    table = tokens.table
    texts = dict(zip(table["token_id"], table["text"], strict=True))

    def after(text, task):
        row = table[(table["text"] == text) & (table["task"] == task)].iloc[0]
        return texts.get(row["successor"])

    assert after(" 39", "numbers") == " 40"
    assert after("39", "numbers") == "40"
    assert after(" 60", "numbers") is None
    assert after(" Sunday", "days") == " Monday"
    assert after("december", "months") == "january"
    assert after(" Apr", "month_prefixes") == " May"
    assert after(" April", "months") == " May"
    assert after("z", "letters") is None
    assert after(" III", "roman_numerals") == " IV"
    assert after(" IV", "roman_numerals") is None  # V is a letter
    assert table["held_out_task"].equals(table["task"] == "roman_numerals")


def test_all_spellings_of_an_element_are_in_one_fold(tokens):
    by_element = tokens.table.groupby(["task", "index"])
    assert (by_element["fold"].nunique() == 1).all()
    assert by_element.size().max() == 4
    sizes = tokens.table[tokens.table["task"] == "numbers"].groupby("fold")["index"].nunique()
    assert len(sizes) == FOLDS and sizes.max() - sizes.min() <= 1


def test_a_range_of_numbers_is_that_range_looked_for_alone(tokens):
    """Scores count numbers to 200 where features are fitted on more: the last has no successor."""
    alone = ordinal_tokens(byte_level_tokenizer(), load_tasks(numbers=(1, 40))).table
    table = tokens.table
    part = tokens.select(((table["task"] != "numbers") | table["index"].between(1, 40)).to_numpy())
    columns = [name for name in alone.columns if name != "fold"]
    assert part.table[columns].equals(alone[columns])
    assert part.dataset.features == tokens.dataset.features


def test_select_keeps_the_rows(tokens):
    keep = (tokens.table["task"] == "days").to_numpy()
    days = tokens.select(keep)
    assert days.tasks == ["days"] and len(days) == np.count_nonzero(keep)


def test_a_range_replaces_the_file_s_numbers():
    assert load_tasks()["numbers"].range == (0, 500)
    assert load_tasks(numbers=(3, 9))["numbers"].range == (3, 9)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("days: [", "not valid YAML"),
        ("- days", "one mapping per task"),
        ("", "one mapping per task"),
        ("days: monday", "days"),
        ("days: {}", "either `range"),
        ("days: {elements: [a], range: [1, 2]}", "either `range"),
        ("days: {elements: []}", "elements"),
        ("n: {range: [9, 3]}", "first < last"),
        ("n: {range: [1]}", "n.range"),
        ("days: {elements: [a, b], cyclical: true}", "days.cyclical"),
        ("days: {elements: [a, b], case: [title]}", "days.case"),
        ("\x00", "not valid YAML"),
    ],
)
def test_a_task_file_that_is_malformed(text, says, tmp_path):
    file = tmp_path / "tasks.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=says) as caught:
        load_tasks(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_no_task_file(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.yaml: no such task file"):
        load_tasks(tmp_path / "nowhere.yaml")


def test_elements_with_a_gap_have_no_successor_across_it():
    task = OrdinalTask(elements=("a", None, "c", "d"), cyclic=False)
    assert {i for i, _, _ in task.spellings()} == {1, 3, 4}
    assert [task.following(i) for i in (1, 3, 4)] == [2, 4, None]
