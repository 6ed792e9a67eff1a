"""The effective OV circuit against a real forward pass and against its definition."""

import numpy as np
import pytest
import torch

from lm.access import mlp0_outputs
from lm.circuit import head_circuit, scan_heads, succeeds, succession_groups
from lm.open import open_model
from lm.ordinals import load_tasks, ordinal_tokens

# In transformers: base, layers, ln1, attention output, value projection, last norm.
PARTS = {
    "gpt2": ("transformer", "h", "ln_1", "attn.c_proj", "attn.c_attn", "ln_f"),
    "gpt_neox": (
        "gpt_neox", "layers", "input_layernorm", "attention.dense", "attention.query_key_value",
        "final_layer_norm",
    ),
    "llama": (
        "model", "layers", "input_layernorm", "self_attn.o_proj", "self_attn.v_proj", "norm",
    ),
}  # fmt: skip


def value_part(family, fused, n_heads, d_head):
    """V of what the value projection returns, [n_kv_heads * d_head]."""
    if family == "gpt2":
        return fused[-n_heads * d_head :]
    if family == "gpt_neox":
        return fused.view(n_heads, 3, d_head)[:, 2].flatten()
    return fused


@pytest.mark.parametrize("family", PARTS)
def test_logits_are_the_head_s_direct_effect_in_a_forward_pass(family, checkpoint):
    """On a prompt of one token, attention is 1, so a head writes ln1(x) W_V W_O and its biases.

    Fed with the layer's real input x, the circuit must give the head's term in the logits, once
    the two real norm scales are divided out and the parts that come from biases are taken off.
    """
    from transformers import AutoModelForCausalLM

    folder = str(checkpoint(family))
    model = open_model(folder, "streamed")
    info, layer = model.info, 1
    real = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    base, layers, ln1, output, value, last = PARTS[family]
    block = real.get_submodule(f"{base}.{layers}.{layer}")
    seen = {}

    def keep(name):
        return lambda module, inputs: seen.update({name: inputs[0].detach()[0, 0]})

    block.get_submodule(ln1).register_forward_pre_hook(keep("x"))
    block.get_submodule(output).register_forward_pre_hook(keep("z"))
    real.get_submodule(f"{base}.{last}").register_forward_pre_hook(keep("final"))
    with torch.no_grad():
        real(torch.tensor([[123]]))
        bias_in = getattr(block.get_submodule(ln1), "bias", torch.zeros(info.d_model))
        from_bias = value_part(
            family, block.get_submodule(value)(bias_in), info.n_heads, info.d_head
        ).view(info.n_kv_heads, info.d_head)
        rep = info.n_heads // info.n_kv_heads
        z = seen["z"].view(info.n_heads, info.d_head) - from_bias.repeat_interleave(rep, 0)

        weight = block.get_submodule(output).weight
        w_o = (weight if family == "gpt2" else weight.T).view(info.n_heads, info.d_head, -1)
        written = torch.einsum("nh,nhd->nd", z, w_o)
        norm = real.get_submodule(f"{base}.{last}")
        eps = getattr(norm, "eps", None) or norm.variance_epsilon

        def scale(x):
            centre = 0 if info.norm == "rms" else x.mean()
            return ((x - centre).pow(2).mean() + eps).sqrt()

        centre = 0 if info.norm == "rms" else written.mean(-1, keepdim=True)
        normalised = (written - centre) / scale(seen["final"]) * norm.weight
        effect = normalised @ real.get_output_embeddings().weight.T

    everything = torch.arange(info.d_vocab)
    for head in range(info.n_heads):
        logits = head_circuit(model, layer, head, everything).logits(seen["x"])
        ours = logits / scale(seen["x"]) / scale(seen["final"])
        assert (ours - effect[head]).abs().max() < 1e-5 * effect[head].abs().max()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("all_spellings", [False, True])
def test_scan_equals_the_definition(family, all_spellings, checkpoint):
    """W_OV formed as it is written, float64, one source at a time."""
    model = open_model(str(checkpoint(family)), "streamed")
    info = model.info
    tokens = ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 60)))
    m = mlp0_outputs(model, torch.tensor(tokens.table["token_id"].to_numpy()))
    centre = np.eye(info.d_model)
    if info.norm == "layer":
        centre -= 1 / info.d_model
    x = m.double().numpy() @ centre
    w_u = model.unembed(torch.arange(info.d_vocab)).double().numpy()
    read_with = centre @ np.diag(model.final_gain().double()) @ w_u.T
    scan = list(scan_heads(model, tokens, m, all_spellings=all_spellings))

    rows = tokens.table.to_dict("records")
    for layer, head in ((0, 1), (2, 3)):
        gain, w_v, w_o = (t.double().numpy() for t in model.attention(layer))
        w_ov = np.diag(gain) @ w_v[head // (info.n_heads // info.n_kv_heads)] @ w_o[head]
        logits = x @ w_ov @ read_with
        expected = []
        for i, row in enumerate(rows):
            rivals = [
                other["token_id"]
                for other in rows
                if other["task"] == row["task"] and (all_spellings or other["form"] == row["form"])
            ]
            best = max(rivals, key=lambda token: logits[i, token])
            expected.append(row["successor"] == best)
        assert scan[layer][head].tolist() == expected
        assert 0 < sum(expected) < len(rows)


def test_a_tie_is_no_success():
    logits = torch.tensor([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
    assert succeeds(logits, torch.tensor([0, 0])).tolist() == [False, True]


def test_the_last_element_is_a_candidate_but_no_source(checkpoint):
    model = open_model(str(checkpoint("gpt2", tied=True)))
    tokens = ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 60)))
    row = tokens.table.index[tokens.table["text"] == " 60"][0]
    token = tokens.table.loc[row, "token_id"]
    groups = [group for group in succession_groups(tokens) if token in group.candidates]
    assert len(groups) == 1
    assert row not in groups[0].sources
