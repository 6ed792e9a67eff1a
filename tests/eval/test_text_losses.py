"""Losses of text without parts of MLP0's output: against `transformers`, edited by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from eval.patching.lesions import MATCHED
from eval.patching.subspaces import remove, span
from eval.scorecard.claim import row
from eval.text.contexts import text_contexts
from eval.text.losses import (
    ALL,
    OF_OTHER,
    ORDINAL,
    OTHER,
    next_token_losses,
    position_kinds,
    removal,
    text_losses,
)
from features.directions import class_mean_directions
from lm.bridged import BridgedModel
from lm.open import open_model
from lm.ordinals import load_tasks, ordinal_tokens
from tests.checkpoints import D_MODEL, byte_level_tokenizer
from tests.lm.test_circuit import PARTS
from training.harvest import harvest


def bridged(folder: str | Path) -> BridgedModel:
    model = open_model(str(folder), "bridged")
    assert isinstance(model, BridgedModel)
    return model


def drawn_ids(model: BridgedModel) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, model.info.d_vocab, (6, 12), generator=generator)


@torch.no_grad()
def transformers_losses(folder: str, family: str, ids: Tensor, edit=lambda m: m) -> Tensor:
    """Cross entropy of `transformers`' own model, the first MLP's output edited."""
    from transformers import AutoModelForCausalLM

    real = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    base, layers = PARTS[family][:2]
    mlp = real.get_submodule(f"{base}.{layers}.0.mlp")
    mlp.register_forward_hook(lambda module, inputs, output: edit(output))
    logits = real(ids).logits[:, :-1]
    return nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")


@pytest.mark.parametrize("family", PARTS)
def test_losses_are_those_of_transformers_with_and_without_a_subspace(family, checkpoint) -> None:
    folder = str(checkpoint(family))
    model = bridged(folder)
    ids = drawn_ids(model)
    plain = next_token_losses(model, ids, [])
    torch.testing.assert_close(
        plain, transformers_losses(folder, family, ids), atol=1e-5, rtol=1e-5
    )
    generator = torch.Generator().manual_seed(1)
    basis = span(torch.randn(5, D_MODEL, generator=generator))
    mean = torch.randn(D_MODEL, generator=generator)
    edited = next_token_losses(model, ids, removal(basis, mean))
    by_hand = transformers_losses(folder, family, ids, lambda m: remove(m, basis, mean))
    torch.testing.assert_close(edited, by_hand, atol=1e-5, rtol=1e-5)
    assert (edited - plain).abs().mean() > 0.1
    torch.testing.assert_close(next_token_losses(model, ids, []), plain)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_a_direction_that_nothing_reads_can_go(family, checkpoint) -> None:
    """Every LayerNorm takes off the mean over dimensions, so none sees the constant direction."""
    model = bridged(checkpoint(family))
    ids = drawn_ids(model)
    plain = next_token_losses(model, ids, [])
    unread = removal(span(torch.ones(1, D_MODEL)), torch.full((D_MODEL,), 3.0))
    assert (next_token_losses(model, ids, unread) - plain).abs().max() < 1e-4
    read = torch.ones(1, D_MODEL)
    read[0, ::2] = -1
    edited = next_token_losses(model, ids, removal(span(read), torch.full((D_MODEL,), 3.0)))
    assert (edited - plain).abs().max() > 0.01


def test_positions_are_of_the_kind_that_their_tokens_say() -> None:
    tokenizer = byte_level_tokenizer()
    tokens = ordinal_tokens(tokenizer, load_tasks(numbers=(0, 20)))
    words = [" Monday", " 12", "!", " 50", "!", "?", " MONDAY", "?", "!", " May", "?"]
    ids = [tokenizer.encode(w, add_special_tokens=False).ids for w in words]
    single = [(w, i[0]) for w, i in zip(words, ids, strict=True) if len(i) == 1]
    assert [w for w, _ in single] == [w for w in words if w != " MONDAY"]
    kinds = position_kinds(tokenizer, tokens, torch.tensor([[i for _, i in single]]))
    # The next of each: 12 ! 50 ! ? ? ! May ?; 50 is a number, but none of these tokens.
    nexts = [w for w, _ in single][1:]
    assert nexts == [" 12", "!", " 50", "!", "?", "?", "!", " May", "?"]
    assert kinds[ORDINAL][0].tolist() == [w in (" 12", " May") for w in nexts]
    assert kinds[OTHER][0].tolist() == [False] * 4 + [True] * 3 + [False] * 2


@pytest.fixture(scope="module")
def counting() -> BridgedModel:
    return bridged("counting")


@pytest.fixture(scope="module")
def losses(counting: BridgedModel) -> pd.DataFrame:
    contexts = text_contexts(counting, count=16)
    assert contexts is not None
    tokens = ordinal_tokens(counting.tokenizer, load_tasks(numbers=(0, 200)))
    activations = harvest(counting, tokens)
    sets = class_mean_directions(activations, 10)
    return text_losses(counting, contexts.ids, sets, activations, random_subspaces=5)


def of(losses: pd.DataFrame, removed: str, positions: str) -> dict[str, Any]:
    return row(losses, removed=removed, positions=positions)


def test_the_table_holds_what_is_removed_beside_random_subspaces(losses: pd.DataFrame) -> None:
    assert set(losses["removed"]) == {"mod-10", "tens", "ordinal", "task", MATCHED, OF_OTHER, ALL}
    assert not losses.duplicated(["removed", "positions"]).any()
    assert losses["removed"].value_counts().eq(2).all()
    assert losses.groupby("positions")["loss_before"].nunique().max() == 1
    np.testing.assert_allclose(losses["change"], losses["loss_after"] - losses["loss_before"])
    assert (losses["change_low"] <= losses["change"]).all()
    assert (losses["change"] <= losses["change_high"]).all()
    residues, random = of(losses, "mod-10", ORDINAL), of(losses, MATCHED, ORDINAL)
    assert random["rank"] == residues["rank"] <= 10
    assert random["variance_removed"] == pytest.approx(residues["variance_removed"], rel=0.1)
    assert of(losses, ALL, ORDINAL)["variance_removed"] == pytest.approx(1)


def test_residues_are_needed_for_ordinal_tokens_and_other_directions_for_others(losses) -> None:
    residues = of(losses, "mod-10", ORDINAL)
    assert residues["change_low"] > max(0, of(losses, MATCHED, ORDINAL)["change_high"])
    others = of(losses, OF_OTHER, OTHER)
    assert others["change_low"] > max(0, of(losses, "mod-10", OTHER)["change_high"])


def test_specificity_is_one_less_the_ratio_of_the_rises(losses: pd.DataFrame) -> None:
    for _, pair in losses.groupby("removed"):
        rises = pair.set_index("positions")["change"]
        found = pair[pair["positions"] == ORDINAL].iloc[0]
        if found["change_low"] > 0:
            assert found["specificity"] == pytest.approx(1 - rises[OTHER] / rises[ORDINAL])
            assert found["specificity_low"] <= found["specificity"] <= found["specificity_high"]
        else:
            assert np.isnan(found["specificity"])
