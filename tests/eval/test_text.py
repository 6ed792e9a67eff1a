"""Ablation effects against `transformers` run again, and text that is what it is said to be."""

import json
import time
from itertools import islice
from pathlib import Path
from random import Random

import pytest
import torch
from torch import nn

from eval.text.cases import token_texts
from eval.text.contexts import Contexts, text_contexts
from eval.text.effects import ablation_effects, cross_fitted_effects, mean_outputs
from eval.text.lists import list_wins, numbered_lists
from eval.text.natural import NaturalText, natural_text
from lm.bridged import BridgedModel
from lm.counting.corpus import COUNTING, FACTS, documents, rows
from lm.errors import OrdinalError
from lm.open import open_model
from tests.lm.test_circuit import PARTS

SUCCESSOR, RUNNER_UP = (1, 0), (1, 3)


def bridged(name: str | Path) -> BridgedModel:
    model = open_model(str(name), "bridged")
    assert isinstance(model, BridgedModel)
    return model


@pytest.fixture(scope="module")
def counting() -> BridgedModel:
    return bridged("counting")


@pytest.fixture(scope="module")
def found(counting: BridgedModel) -> NaturalText:
    contexts = text_contexts(counting, count=24)
    assert contexts is not None
    return natural_text(counting, contexts, SUCCESSOR, RUNNER_UP)


class Rerun:
    """`transformers`' own model, whose last residual stream can be changed under a frozen norm."""

    def __init__(self, folder: str, family: str, ids: torch.Tensor) -> None:
        from transformers import AutoModelForCausalLM

        self.real = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        base, layers, _, output, _, last = PARTS[family]
        seen: dict[object, torch.Tensor] = {}
        self.norm, self.ids, self.z = self.real.get_submodule(f"{base}.{last}"), ids, []
        self.outputs = [
            block.get_submodule(output) for block in self.real.get_submodule(f"{base}.{layers}")
        ]
        for module in (*self.outputs, self.norm):
            module.register_forward_pre_hook(lambda module, x: seen.update({module: x[0]}))
        with torch.no_grad():
            self.loss = self._loss(self.real(ids).logits)
        self.z = [seen[module] for module in self.outputs]
        self.last = seen[self.norm]
        self.transposed = family != "gpt2"

    def _loss(self, logits: torch.Tensor) -> torch.Tensor:
        losses = nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), self.ids[:, 1:].flatten(), reduction="none"
        )
        return losses.view(len(self.ids), -1)

    @torch.no_grad()
    def change(self, layer: int, part: slice, mean: torch.Tensor) -> torch.Tensor:
        """Of the loss: one head's part of z is put to its mean, the norm's scale stays."""
        weight = self.outputs[layer].weight
        weight = weight.T if self.transposed else weight
        changed = self.last - (self.z[layer][..., part] - mean) @ weight[part]
        centre = 0 if getattr(self.norm, "bias", None) is None else 1
        eps = getattr(self.norm, "eps", None) or getattr(self.norm, "variance_epsilon", None)
        frozen = self.last - centre * self.last.mean(-1, keepdim=True)
        scale = (frozen.pow(2).mean(-1, keepdim=True) + eps).sqrt()
        normed = (changed - centre * changed.mean(-1, keepdim=True)) / scale * self.norm.weight
        normed = normed + self.norm.bias if centre else normed
        return self._loss(self.real.get_output_embeddings()(normed)) - self.loss


@pytest.mark.parametrize("family", PARTS)
def test_effects_are_those_of_a_model_run_again_with_the_head_s_term_replaced(family, checkpoint):
    folder = str(checkpoint(family))
    model = bridged(folder)
    info = model.info
    drawn = torch.randint(0, info.d_vocab, (6, 12), generator=torch.Generator().manual_seed(0))
    ids, other = drawn[:4], drawn[4:]
    again = Rerun(folder, family, ids)
    elsewhere = Rerun(folder, family, other)
    heads = [(layer, head) for layer in range(info.n_layers) for head in range(info.n_heads)]
    effects = ablation_effects(model, ids, mean_outputs(model, other), heads)
    torch.testing.assert_close(effects.loss, again.loss, atol=1e-5, rtol=1e-5)
    changes = []
    for layer, head in heads:
        part = slice(head * info.d_head, (head + 1) * info.d_head)
        change = again.change(layer, part, elsewhere.z[layer][..., part].mean((0, 1)))
        torch.testing.assert_close(effects.heads[layer, head].change, change, atol=1e-5, rtol=1e-5)
        changes.append(change)
    every = torch.stack(changes)
    wins = torch.stack([effects.heads[head].wins for head in heads])
    loses = torch.stack([effects.heads[head].loses for head in heads])
    ranks = torch.arange(len(heads))[:, None, None]
    assert torch.equal(wins, (every.argmax(0) == ranks) & (every > 0))
    assert torch.equal(loses, (every.argmin(0) == ranks) & (every < 0))
    assert wins.any((1, 2)).sum() > 3 and loses.any((1, 2)).sum() > 3


def test_one_head_asked_for_alone_wins_where_it_wins_among_all(counting: BridgedModel):
    """Others' exact changes are computed only where they can matter."""
    contexts = text_contexts(counting, count=8)
    assert contexts is not None
    means = mean_outputs(counting, contexts.ids)
    every = [(layer, head) for layer in range(2) for head in range(4)]
    together = ablation_effects(counting, contexts.ids, means, every)
    for head in every:
        alone = ablation_effects(counting, contexts.ids, means, [head]).heads[head]
        for ours, theirs in zip(alone, together.heads[head], strict=True):
            assert torch.equal(ours, theirs)


def test_a_context_is_judged_by_means_of_the_other_half(counting: BridgedModel):
    contexts = text_contexts(counting, count=6)
    assert contexts is not None
    before = cross_fitted_effects(counting, contexts.ids, [SUCCESSOR]).heads[SUCCESSOR].change
    ids = contexts.ids.clone()
    ids[0] = contexts.ids[0].flip(0)
    after = cross_fitted_effects(counting, ids, [SUCCESSOR]).heads[SUCCESSOR].change
    same = [torch.equal(a, b) for a, b in zip(before[1:], after[1:], strict=True)]
    assert (same.count(True), same.count(False)) == (2, 3)


def test_attention_is_most_attended_first_and_never_ahead(counting: BridgedModel):
    contexts = text_contexts(counting, count=4)
    assert contexts is not None
    effects = cross_fitted_effects(counting, contexts.ids, [SUCCESSOR]).heads[SUCCESSOR]
    assert (effects.attention[..., :-1] >= effects.attention[..., 1:]).all()
    ahead = effects.attended > torch.arange(contexts.ids.shape[1] - 1)[:, None]
    assert (effects.attention[ahead] == 0).all()


def test_logits_that_are_capped_are_refused(counting: BridgedModel, monkeypatch):
    contexts = text_contexts(counting, count=2)
    assert contexts is not None
    run = counting.bridge.run_with_cache

    def capped(*arguments, **settings):
        logits, cache = run(*arguments, **settings)
        return 5 * torch.tanh(logits / 5), cache

    monkeypatch.setattr(counting.bridge, "run_with_cache", capped)
    with pytest.raises(OrdinalError, match="its last norm and its unembedding alone"):
        cross_fitted_effects(counting, contexts.ids, [SUCCESSOR])


def test_succession_is_what_the_successor_head_wins_with_and_its_controls_do_not(
    found: NaturalText,
):
    shares = found.shares.set_index(["role", "among", "class"])
    mine = shares.loc["successor head", "wins", "succession"]
    assert mine["share_low"] > max(0.1, mine["permuted_95"])
    for role in ("runner-up", "random head"):
        assert shares.loc[(role, "wins", "succession"), "share_high"] < mine["share_low"]
    assert shares.loc[("successor head", "successions", "win"), "share_low"] > 0.9
    lists = shares.xs(("lists", "win"), level=("among", "class"))
    assert lists.loc["successor head", "share_low"] > 0.9
    assert lists.loc["runner-up", "share_high"] < 0.1


def test_every_share_has_its_interval_and_n_and_the_cases_say_the_same(found: NaturalText):
    shares = found.shares
    some = shares[shares["n"] > 0]
    assert (some["share_low"] <= some["share"]).all()
    assert (some["share"] <= some["share_high"]).all()
    assert (some["n"] >= some["n_contexts"]).all() and (some["n_contexts"] > 0).all()
    assert len(some) > 0.9 * len(shares)
    mine = shares[shares["role"] == "successor head"].set_index(["among", "class"])
    for outcome, among in (("win", "wins"), ("loss", "losses")):
        cases = found.cases[found.cases["outcome"] == outcome]
        classes = mine.loc[among]
        assert (classes["n"] == len(cases)).all()
        assert classes["share"].sum() == pytest.approx(1)
        for name, row in classes.iterrows():
            here = cases[cases["class"] == name]
            assert row["share"] == pytest.approx(len(here) / len(cases))
            saved = here["loss_change"].sum() / cases["loss_change"].sum()
            assert row["of_loss"] == pytest.approx(saved, abs=1e-6)
    won = found.cases[found.cases["outcome"] == "win"]
    assert (won["loss_change"] > 0).all()
    assert won["excerpt"].str.endswith("»").all()


def test_tokens_as_they_stand_in_text():
    from tests.checkpoints import byte_level_tokenizer, sentencepiece_tokenizer

    bytes_ = byte_level_tokenizer()
    ids = bytes_.encode(" Tuesday,\n12", add_special_tokens=False).ids
    assert "".join(token_texts(bytes_, torch.tensor([ids]))[0]) == " Tuesday,\n12"
    pieces = sentencepiece_tokenizer(["▁Tuesday", "s", "▁12"])
    ids = pieces.encode("Tuesdays 12", add_special_tokens=False).ids
    assert token_texts(pieces, torch.tensor([ids])) == [[" Tuesday", "s", " 12"]]


def test_lists_end_with_the_next_number(counting: BridgedModel, checkpoint):
    for tokenizer in (counting.tokenizer, bridged(checkpoint("gpt2")).tokenizer):
        for ids in numbered_lists(tokenizer):
            numbers = [
                int(line.split(".")[0])
                for line in tokenizer.decode(ids).split("\n")
                if line.strip()
            ]
            assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert len(numbered_lists(counting.tokenizer)) == 64


def test_lists_whose_next_number_is_no_single_token_are_not_asked(checkpoint):
    from tests.checkpoints import sentencepiece_tokenizer

    digits = sentencepiece_tokenizer(["▁", *"0123456789.\n"])
    prompts = numbered_lists(digits)
    assert 0 < len(prompts) < 20
    assert all(not digits.decode(prompt[-2:-1]).strip() for prompt in prompts)
    model = bridged(checkpoint("gpt2"))
    means = mean_outputs(model, torch.arange(40).view(2, 20))
    model.tokenizer = sentencepiece_tokenizer(["▁", "."])
    assert len(list_wins(model, means, [(0, 0)])[0, 0]) == 0


def test_the_embedded_model_s_own_text_is_not_what_it_was_trained_on(counting: BridgedModel):
    contexts = text_contexts(counting)
    assert contexts is not None
    assert contexts.ids.shape == (128, 64)
    identifiers = counting.tokenizer.get_vocab()
    ours = {tuple(row) for row in contexts.ids.tolist()}
    for seed in range(4):  # those of the model and its siblings
        for kinds in (FACTS, COUNTING):
            drawn = islice(rows(documents(Random(seed), kinds), 64), 500)
            assert ours.isdisjoint(tuple(identifiers[w] for w in row) for row in drawn)


def test_a_model_without_a_text_of_its_own_has_no_default(checkpoint):
    assert text_contexts(open_model(str(checkpoint("gpt2")))) is None


def rows_of(folder: Path, suffix: str, column: str = "text") -> Path:
    from datasets import Dataset

    rows = Dataset.from_list([{column: f"{n} apple {n + 1} river"} for n in range(60)])
    if not suffix:
        rows.save_to_disk(str(folder / "saved"))
        return folder / "saved"
    path = folder / f"rows{suffix}"
    if suffix == ".parquet":
        rows.to_parquet(str(path))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".parquet", ""])
def test_a_text_of_one_s_own(suffix, counting: BridgedModel, tmp_path):
    path = tmp_path / "notes.txt"
    if suffix == ".txt":
        path.write_text("\n".join(f"{n} apple {n + 1} river" for n in range(60)), "utf-8")
    else:
        path = rows_of(tmp_path, suffix)
    contexts = text_contexts(counting, str(path), count=3)
    assert isinstance(contexts, Contexts) and contexts.ids.shape == (3, 64)
    text = counting.tokenizer.decode(contexts.ids[0].tolist(), skip_special_tokens=False)
    assert text.startswith("<|endoftext|>0 apple 1 river\n")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.txt", b"", "is empty"),
        ("short.txt", b"12 apple 13 river", "has 4 tokens. Two contexts of 64"),
        ("latin.txt", "Käse ".encode("latin-1") * 99, "is not UTF-8"),
        (
            "english.txt",
            b"Nothing that it ever learned. " * 99,
            "words that the vocabulary of count",
        ),
        ("rows.jsonl", b'{"body": "12 apple"}\n', "no column `text` of words, but body"),
        ("broken.jsonl", b"{nope", "cannot be read"),
        ("broken.parquet", b"nope", "cannot be read"),
        ("no-such-dataset", None, "there is no such file, and the hub"),
        ("nobody/no-such-dataset", None, "the hub could not be asked"),
    ],
)
def test_text_that_cannot_be_read(name, content, said, counting, tmp_path, monkeypatch, capfd):
    """One line, quickly; here with a hub that cannot be reached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    capfd.readouterr()
    start = time.monotonic()
    with pytest.raises(OrdinalError) as caught:
        text_contexts(counting, name)
    assert time.monotonic() - start < 10
    assert "\n" not in str(caught.value)
    assert name in str(caught.value) and said in str(caught.value)
    assert caught.value.exit_code == (1 if content is not None else 2)
    assert capfd.readouterr() == ("", "")
