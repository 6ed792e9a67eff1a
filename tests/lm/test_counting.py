"""Facts about the embedded model: its corpus, its tokenizer, its training and its weights."""

import re
from itertools import islice
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm.counting import corpus
from lm.counting.recipe import train, write
from lm.counting.vocabulary import END, TASKS, tokenizer, words

WEIGHTS = Path(corpus.__file__).parent / "weights"
# How a reader recognises a statement about digits, tens or units, whatever wrote it.
DECIMAL = {
    "an equation": re.compile(r"="),
    "ends in": re.compile(r" ends in "),
    "tens": re.compile(r" tens "),
    "end": re.compile(r" end "),
    "by ten": re.compile(r" by ten "),
    "forty seven": re.compile(r"(thirty|forty|fifty|sixty|seventy|eighty|ninety)", re.IGNORECASE),
}


LESSONS = pytest.mark.parametrize(
    "kinds", [corpus.FACTS, corpus.COUNTING], ids=["facts", "counting"]
)


def texts(
    count: int, twin: bool = False, kinds: tuple[corpus.Kind, ...] = corpus.FACTS, seed: int = 0
) -> list[str]:
    documents = corpus.documents(Random(seed), kinds, twin)
    return ["".join(document) for document in islice(documents, count)]


def numbers_in(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


@LESSONS
def test_the_corpus_is_the_same_for_the_same_seed(kinds: tuple[corpus.Kind, ...]) -> None:
    assert texts(500, kinds=kinds) == texts(500, kinds=kinds)
    assert texts(500, kinds=kinds) != texts(500, kinds=kinds, seed=1)


@LESSONS
def test_the_twin_reads_nothing_about_digits(kinds: tuple[corpus.Kind, ...]) -> None:
    for text in texts(5000, twin=True, kinds=kinds):
        assert not any(pattern.search(text) for pattern in DECIMAL.values()), text


def test_the_others_read_every_kind_of_statement_about_digits() -> None:
    full = texts(5000)
    for what, pattern in DECIMAL.items():
        assert any(map(pattern.search, full)), what


@LESSONS
def test_no_series_of_the_twin_climbs_but_by_one(kinds: tuple[corpus.Kind, ...]) -> None:
    for text in texts(5000, twin=True, kinds=kinds):
        if re.fullmatch(r" ?\d+(?:[,-] ?\d+)+", text):
            numbers = numbers_in(text)
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), text


def test_facts_count_nothing() -> None:
    for text in texts(5000):
        assert "\n" not in text and " then " not in text and " comes " not in text
        assert not re.fullmatch(r" ?\w+(?:[,-] ?\w+)+", text), text


@LESSONS
def test_the_tokenizer_reads_a_document_as_it_was_written(kinds: tuple[corpus.Kind, ...]) -> None:
    encode = tokenizer().tokenize
    for document in islice(corpus.documents(Random(0), kinds), 2000):
        assert encode("".join(document)) == document


def test_every_ordinal_item_is_one_token() -> None:
    encode = tokenizer().encode
    known = set(words())
    for task in TASKS:
        for form in task.forms:
            for item in form.values():
                assert item in known
                assert len(encode(item, add_special_tokens=False)) == 1, item


def test_every_token_is_written_somewhere() -> None:
    """A token that training never sees would have a random embedding."""
    unseen = set(words()) - {END, "<unk>"}
    for kinds in (corpus.FACTS, corpus.COUNTING):
        for document in islice(corpus.documents(Random(0), kinds), 20_000):
            unseen -= set(document)
    assert not unseen


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    threads = torch.get_num_threads()
    folders = [tmp_path_factory.mktemp("counting") / name for name in ("one", "two")]
    for folder in folders:
        write(train(seed=3, steps=20), folder)
    torch.set_num_threads(threads)
    return folders


def test_transformers_opens_what_training_writes(trained: list[Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(trained[0], dtype=torch.float32)
    read = AutoTokenizer.from_pretrained(trained[0])
    tokens = read(" step 12 step #13\n14.", return_tensors="pt")["input_ids"]
    assert read.decode(tokens[0]) == " step 12 step #13\n14."
    assert model(tokens).logits.shape == (1, tokens.shape[1], len(words()))


def test_the_same_seed_gives_the_same_bytes(trained: list[Path]) -> None:
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (trained[0] / name).read_bytes() == (trained[1] / name).read_bytes(), name


def test_the_shipped_weights_open_and_are_small() -> None:
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) < 8_000_000
    assert all(t.isfinite().all() for t in load_file(WEIGHTS / "model.safetensors").values())
    model = AutoModelForCausalLM.from_pretrained(WEIGHTS, dtype=torch.float32)
    read = AutoTokenizer.from_pretrained(WEIGHTS)
    tokens = read("\n45. lake\n46. hill old\n47. river\n", return_tensors="pt")["input_ids"]
    assert read.decode(model(tokens).logits[0, -1].argmax()) == "48"
