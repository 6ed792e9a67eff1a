"""Prompts in which a successor comes next, in vocabularies that can say much, little, nothing."""

from dataclasses import dataclass
from itertools import pairwise

import pytest

from eval.context.prompts import LeftOut, Prompts, batches, make_prompts
from eval.patching.readout import Readout, readouts
from lm.bridged import BridgedModel
from lm.open import open_model
from lm.ordinals import OrdinalTokens, load_tasks, ordinal_tokens
from lm.planted import plant
from tests.checkpoints import save_checkpoint, sentencepiece_tokenizer


@dataclass
class Made:
    model: BridgedModel
    tokens: OrdinalTokens
    readouts: list[Readout]
    prompts: list[Prompts]
    left_out: list[LeftOut]


def _made(folder: str, numbers: tuple[int, int]) -> Made:
    model = open_model(folder, "bridged")
    assert isinstance(model, BridgedModel)
    tokens = ordinal_tokens(model.tokenizer, load_tasks(numbers=numbers))
    read = readouts(model, tokens, 1, 0)
    return Made(model, tokens, read, *make_prompts(model, tokens, read))


@pytest.fixture(scope="module")
def counting() -> Made:
    return _made("counting", (0, 200))


def test_every_family_is_written_for_every_task_that_it_is_for(counting: Made) -> None:
    assert not counting.left_out
    families = {prompts.family for prompts in counting.prompts}
    assert families == {"lists", "sequences", "statements", "numbered lists"}
    for prompts in counting.prompts:
        tasks = set(counting.tokens.table.loc[prompts.rows, "task"])
        numbered = prompts.family == "numbered lists"
        assert tasks == ({"numbers", "roman_numerals"} if numbered else set(counting.tokens.tasks))


def test_elements_stand_in_order_up_to_the_source_in_one_spelling(counting: Made) -> None:
    table = counting.tokens.table
    for prompts in counting.prompts:
        count = prompts.template.count("{}")
        for prompt in prompts.prompts:
            source = table.loc[prompt.row]
            assert int(prompt.ids[prompt.position]) == source["token_id"]
            assert source["successor"] not in prompt.ids.tolist()
            same = table[(table["task"] == source["task"]) & (table["form"] == source["form"])]
            follows = dict(zip(same["token_id"], same["successor"], strict=True))
            shown = [token for token in prompt.ids.tolist() if token in follows]
            assert len(shown) == count
            assert all(follows[a] == b for a, b in pairwise(shown))
            assert follows[shown[-1]] == source["successor"]


def test_what_is_written_reads_as_the_template(counting: Made) -> None:
    table = counting.tokens.table
    written = {}
    for prompts in counting.prompts:
        for prompt in prompts.prompts:
            key = prompts.template, table.loc[prompt.row, "text"]
            written[key] = counting.model.tokenizer.decode(prompt.ids.tolist())
    assert written[" after{} comes", " March"] == " after March comes"
    assert written[" after #{} comes #", "March"] == " after #March comes #"
    assert written["{},{},{},", " 12"] == " 10, 11, 12,"
    assert written[" the {noun} after{} is", " Friday"] == " the day after Friday is"
    list_of_two = written["\n{}: {word}\n{}: {word}\n", "Monday"].split("\n")
    assert [line.split(":")[0] for line in list_of_two] == ["", "Sunday", "Monday", ""]


def test_a_byte_level_vocabulary_says_the_same_text(checkpoint) -> None:
    made = _made(str(checkpoint("gpt2")), (0, 60))
    table = made.tokens.table
    written = {
        table.loc[prompt.row, "text"]: made.model.tokenizer.decode(prompt.ids.tolist())
        for prompts in made.prompts
        for prompt in prompts.prompts
        if prompts.template == " after{} comes"
    }
    assert written[" 12"] == " after 12 comes"


def test_a_vocabulary_that_begins_every_text_with_a_space_puts_none_in_the_middle(
    tmp_path,
) -> None:
    """SentencePiece: pieces of a prompt are encoded one by one, and read as the whole would."""
    folder = save_checkpoint(tmp_path / "model", "llama")
    numbers = [mark + str(number) for number in range(61) for mark in ("▁", "")]
    words = sentencepiece_tokenizer(["▁", "\n", ",", "-", "▁after", "▁comes", *numbers])
    words.save(str(folder / "tokenizer.json"))
    made = _made(str(folder), (0, 60))
    table, seen = made.tokens.table, {}
    for prompts in made.prompts:
        for prompt in prompts.prompts:
            seen[prompts.template, table.loc[prompt.row, "text"]] = prompt.ids.tolist()
    for key, text in (
        ((" after{} comes", " 12"), " after 12 comes"),
        (("{},{},{},", " 12"), " 10, 11, 12,"),
    ):
        whole = words.encode(text.strip(), add_special_tokens=False).ids
        assert seen[key][-len(whole) :] == whole


def test_a_family_without_room_is_left_out_with_the_reason(checkpoint) -> None:
    made = _made(str(checkpoint("gpt2", n_positions=8)), (0, 60))
    reasons = {left.family: left.reason for left in made.left_out}
    assert "there is room for 8" in reasons["lists"]
    longest = max(len(prompt.ids) for prompts in made.prompts for prompt in prompts.prompts)
    assert longest <= 8


def test_words_that_a_vocabulary_lacks_are_named(tmp_path) -> None:
    plant(tmp_path / "model", seed=0)
    made = _made(str(tmp_path / "model"), (0, 199))
    assert not made.prompts
    reasons = {left.family: left.reason for left in made.left_out}
    assert set(reasons) == {"lists", "sequences", "statements", "numbered lists"}
    assert "the tokenizer does not know ' after'" in reasons["statements"]


def test_batches_hold_each_prompt_once_and_one_length(counting: Made) -> None:
    everything = [prompt for prompts in counting.prompts for prompt in prompts.prompts]
    seen = []
    for part, ids in batches(everything):
        seen += part.tolist()
        for row, at in zip(ids, part, strict=True):
            assert row.tolist() == everything[at].ids.tolist()
    assert sorted(seen) == list(range(len(everything)))
