"""Families that only the bridge knows, against `transformers` itself."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lm.access import mlp0_outputs
from lm.bridged import BridgedModel
from lm.errors import OrdinalError
from lm.open import open_model
from lm.streamed import StreamedModel
from tests.checkpoints import save_tokenizer

SIZE = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 80,
}


def save(folder, family, **settings):
    size = save_tokenizer(folder)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family, vocab_size=size, bos_token_id=0, eos_token_id=0, pad_token_id=0, **settings
    )
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return model


def test_gemma_s_gain_is_one_plus_its_weight(tmp_path):
    real = save(tmp_path, "gemma", num_key_value_heads=2, head_dim=16, **SIZE)
    model = open_model(str(tmp_path))
    assert isinstance(model, BridgedModel)
    assert (model.info.norm, model.info.n_kv_heads) == ("rms", 2)
    torch.testing.assert_close(model.final_gain(), 1 + real.model.norm.weight.detach())


def test_one_norm_for_attention_and_mlp(tmp_path):
    """GPT-J has no ln2: its MLP reads what its attention reads."""
    real = save(tmp_path, "gptj", n_embd=48, n_layer=2, n_head=4, rotary_dim=8, n_positions=32)
    model = open_model(str(tmp_path))
    ids = torch.arange(20)
    block = real.transformer.h[0]
    with torch.no_grad():
        expected = block.mlp(block.ln_1(real.transformer.wte(ids)))
    torch.testing.assert_close(mlp0_outputs(model, ids), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["olmo2", "bloom"])
def test_a_family_whose_layers_are_built_otherwise_is_refused(family, tmp_path):
    """OLMo 2 normalises after its attention, Bloom's MLP adds the residual: no wrong number."""
    settings = SIZE if family == "olmo2" else {"hidden_size": 48, "n_layer": 2, "n_head": 4}
    save(tmp_path, family, **settings)
    with pytest.raises(OrdinalError, match="has no OV circuits as defined here"):
        open_model(str(tmp_path))


def test_auto_streams_the_families_that_it_can(checkpoint):
    assert isinstance(open_model(str(checkpoint("gpt_neox"))), StreamedModel)


def test_prompts_run_through_the_bridge_and_nothing_is_printed(checkpoint, capfd):
    folder = str(checkpoint("gpt2", tied=True))
    capfd.readouterr()
    model = open_model(folder, "bridged")
    assert capfd.readouterr() == ("", "")
    assert isinstance(model, BridgedModel)
    logits = model.bridge(torch.tensor([[1, 2, 3]]))
    assert logits.shape == (1, 3, model.info.d_vocab)
