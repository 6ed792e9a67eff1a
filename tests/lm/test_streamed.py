"""The streamed route against the model's own modules, as `transformers` runs them."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from lm.access import LanguageModel, mlp0_outputs
from lm.circuit import head_circuit, scan_heads
from lm.open import open_model
from lm.ordinals import OrdinalTokens, load_tasks, ordinal_tokens

CASES = {
    "gpt2": ("gpt2", {"tied": True}),
    "gpt2 untied, sharded": ("gpt2", {"sharded": True}),
    "gpt2 half": ("gpt2", {"tied": True, "dtype": torch.float16}),
    "gpt2 relu": ("gpt2", {"tied": True, "activation_function": "relu"}),
    "gpt2 eps": ("gpt2", {"tied": True, "layer_norm_epsilon": 0.1}),
    "neox": ("gpt_neox", {}),
    "neox tied, sharded": ("gpt_neox", {"tied": True, "sharded": True}),
    "neox half": ("gpt_neox", {"dtype": torch.float16}),
    "llama": ("llama", {}),
    "llama tied, sharded": ("llama", {"tied": True, "sharded": True}),
    "llama half": ("llama", {"dtype": torch.float16}),
    "llama bfloat": ("llama", {"dtype": torch.bfloat16, "mlp_bias": True}),
}


def tokens_of(model: LanguageModel) -> tuple[OrdinalTokens, torch.Tensor]:
    tokens = ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 60)))
    return tokens, torch.tensor(tokens.table["token_id"].to_numpy())


@pytest.mark.parametrize("case", CASES)
def test_streamed_equals_bridged(case, checkpoint):
    family, settings = CASES[case]
    folder = str(checkpoint(family, **settings))
    streamed, bridged = open_model(folder, "streamed"), open_model(folder, "bridged")
    assert streamed.info == bridged.info
    tokens, ids = tokens_of(streamed)

    for ln in ("model", "none"):
        ours, theirs = mlp0_outputs(streamed, ids, ln), mlp0_outputs(bridged, ids, ln)
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(streamed.mlp0_neurons(), bridged.mlp0_neurons())

    m, theirs = mlp0_outputs(streamed, ids), mlp0_outputs(bridged, ids)
    scans = zip(scan_heads(streamed, tokens, m), scan_heads(bridged, tokens, theirs), strict=True)
    assert all(torch.equal(a, b) for a, b in scans)

    for layer, head in ((0, 0), (1, 2), (2, streamed.info.n_heads - 1)):
        a = head_circuit(streamed, layer, head, ids).logits(m)
        b = head_circuit(bridged, layer, head, ids).logits(theirs)
        assert (a - b).abs().max() < 1e-5 * b.abs().max()


def test_names_without_a_prefix_are_the_same_model(checkpoint):
    """Early GPT-2 checkpoints on the hub hold the bare model."""
    whole = open_model(str(checkpoint("gpt2", tied=True)))
    bare = open_model(str(checkpoint("gpt2", tied=True, bare=True)))
    ids = torch.arange(50)
    assert torch.equal(mlp0_outputs(whole, ids), mlp0_outputs(bare, ids))
    for a, b in zip(whole.attention(2), bare.attention(2), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama"])
def test_a_field_that_the_config_leaves_out_has_the_family_s_default(family, checkpoint, tmp_path):
    source = checkpoint(family, tied=family == "gpt2")
    folder = Path(shutil.copytree(source, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    for name in config.keys() & {
        "activation_function", "hidden_act", "tie_word_embeddings",
        "layer_norm_epsilon", "layer_norm_eps", "rms_norm_eps",
    }:  # fmt: skip
        del config[name]
    (folder / "config.json").write_text(json.dumps(config))
    whole, sparse = open_model(str(source)), open_model(str(folder))
    ids = torch.arange(50)
    assert torch.equal(mlp0_outputs(whole, ids), mlp0_outputs(sparse, ids))
    assert torch.equal(whole.unembed(ids), sparse.unembed(ids))


def test_neox_m_is_the_mlp_output_in_context(checkpoint):
    """GPT-NeoX computes MLP0 beside attention 0, and has no position in the residual stream."""
    folder = str(checkpoint("gpt_neox"))
    prompt = torch.tensor([[5, 300, 17, 301, 4, 300]])
    _, cache = open_model(folder, "bridged").bridge.run_with_cache(prompt)
    in_context = cache["blocks.0.hook_mlp_out"][0]
    m = mlp0_outputs(open_model(folder, "streamed"), prompt[0])
    torch.testing.assert_close(m, in_context, rtol=1e-5, atol=1e-5)


def test_only_the_rows_that_are_asked_for_are_read(checkpoint):
    model = open_model(str(checkpoint("gpt2", tied=True)))
    ids = torch.tensor([7, 3, 3, 200])
    everything = model.embed(torch.arange(model.info.d_vocab))
    assert torch.equal(model.embed(ids), everything[ids])
