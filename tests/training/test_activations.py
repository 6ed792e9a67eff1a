"""Activation files go round, those of others are understood, bad ones are told in one line."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lm.errors import OrdinalError
from lm.ordinals import load_tasks, ordinal_tokens
from training.activations import Activations
from training.harvest import harvest


class EveryWord:
    """A tokenizer in which every spelling of every task is one token."""

    def __init__(self):
        texts = [text for task in load_tasks().values() for _, _, text in task.spellings()]
        self.vocabulary = {text.replace(" ", "Ġ"): i for i, text in enumerate(dict.fromkeys(texts))}

    def get_vocab(self):
        return self.vocabulary

    def encode(self, text, *, add_special_tokens):
        return type("Encoding", (), {"ids": [self.vocabulary[text.replace(" ", "Ġ")]]})


@pytest.fixture(scope="module")
def activations():
    tokens = ordinal_tokens(EveryWord())
    x = torch.randn(len(tokens), 8, generator=torch.Generator().manual_seed(0))
    return Activations(x, tokens, {"model": "toy", "hook": "blocks.0.hook_mlp_out"})


def test_the_file_goes_round_byte_for_byte(activations, tmp_path):
    activations.save(tmp_path / "a.safetensors")
    read = Activations.load(tmp_path / "a.safetensors")
    assert torch.equal(read.x, activations.x)
    assert read.tokens.table.equals(activations.tokens.table)
    assert read.metadata == activations.metadata
    read.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def _foreign(activations, path, rows=None, x=None, **metadata):
    """A file with no more than the four required keys."""
    if rows is None:
        table = activations.tokens.table
        rows = json.loads(table[["text", "token_id", "task", "index"]].to_json(orient="records"))
    x = activations.x if x is None else x
    save_file({"activations": x}, path, {"tokens": json.dumps(rows), **metadata})
    return path


def test_a_foreign_file_yields_the_same_tokens(activations, tmp_path):
    read = Activations.load(_foreign(activations, tmp_path / "f.safetensors"))
    ours, theirs = activations.tokens.table, read.tokens.table
    for column in ours.columns:
        assert (ours[column] == theirs[column]).all(), column


def test_a_folds_tokens_are_never_fitted_in_any_spelling(activations):
    table = activations.tokens.table
    seen = set()
    for fold in range(5):
        fit, test = activations.fit_rows(fold), activations.test_rows(fold)
        elements = set(zip(table["task"][table["fold"] == fold],
                           table["index"][table["fold"] == fold], strict=True))  # fmt: skip
        fitted = set(zip(table["task"].iloc[fit], table["index"].iloc[fit], strict=True))
        assert not elements & fitted
        ids = set(table["token_id"].iloc[fit])
        assert not ids & set(table["token_id"][table["fold"] == fold])
        assert len(ids) == len(fit) and not table["held_out_task"].iloc[fit].any()
        assert not table["held_out_task"].iloc[test].any()
        assert not set(fit) & set(test)
        seen |= set(table["token_id"].iloc[test])
    assert seen == set(table["token_id"][~table["held_out_task"]])


def test_may_is_held_out_as_a_month_and_as_a_prefix(activations):
    table = activations.tokens.table
    may = table[table["text"] == " May"]
    assert sorted(may["task"]) == ["month_prefixes", "months"]
    assert may["token_id"].nunique() == 1
    for fold in set(may["fold"]):
        assert activations.held_out(fold)[may.index].all()
    for fold in range(5):
        assert np.isin(activations.fit_rows(fold), may.index).sum() <= 1


def _cut(activations, path):
    data = _foreign(activations, path).read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _with_nan(activations, path):
    x = activations.x.clone()
    x[5, 2] = float("inf")
    x[7] = float("nan")
    _foreign(activations, path, x=x)


ROW = {"text": " 12", "token_id": 3, "task": "numbers", "index": 12}


@pytest.mark.parametrize(
    ("write", "line"),
    [
        (lambda a, p: None, "no such file"),
        (lambda a, p: p.write_text("hello"), "not a safetensors file"),
        (_cut, "cut short"),
        (lambda a, p: save_file({"x": a.x}, p), "no tensor `activations`"),
        (lambda a, p: save_file({"activations": a.x}, p), "no `tokens`"),
        (lambda a, p: save_file({"activations": a.x}, p, {"tokens": "["}), "not JSON"),
        (lambda a, p: save_file({"activations": a.x}, p, {"tokens": "{}"}), "JSON list"),
        (lambda a, p: _foreign(a, p, rows=[ROW, {"text": " 13"}]), "row 1"),
        (lambda a, p: _foreign(a, p, rows=[ROW | {"index": "12"}]), "`index` (a whole number)"),
        (lambda a, p: _foreign(a, p, rows=[ROW | {"fold": "first"}], x=a.x[:1]), "malformed"),
        (lambda a, p: _foreign(a, p, rows=[ROW]), "vectors for 1 tokens"),
        (lambda a, p: _foreign(a, p, rows=[]), "no tokens"),
        (lambda a, p: _foreign(a, p, rows=[ROW], x=a.x[0]), "[tokens, d_model]"),
        (_with_nan, "2 of"),
        (_with_nan, "row 5 (' 5')"),
    ],
)
def test_a_bad_file_is_one_clear_line(activations, tmp_path, write, line):
    path = tmp_path / "bad.safetensors"
    write(activations, path)
    with pytest.raises(OrdinalError) as error:
        Activations.load(path)
    assert line in str(error.value) and "bad.safetensors" in str(error.value)


def test_half_precision_is_read_as_float32(activations, tmp_path):
    path = _foreign(activations, tmp_path / "h.safetensors", x=activations.x.half())
    assert Activations.load(path).x.dtype == torch.float32


def test_the_harvest_is_the_models_mlp0_of_its_embeddings(activations):
    class Model:
        info = type("Info", (), {"name": "toy", "revision": None})

        def embed(self, ids):
            return ids[:, None].float()

        def mlp0(self, x, ln):
            return x * (2.0 if ln == "model" else 3.0)

    ids = torch.tensor(activations.tokens.table["token_id"].to_numpy())
    harvested = harvest(Model(), activations.tokens, ln="none")  # type: ignore[arg-type]
    assert torch.equal(harvested.x[:, 0], ids * 3.0)
    assert harvested.metadata["ln"] == "none" and harvested.model_name == "toy"
