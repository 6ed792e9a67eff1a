"""The families of models whose weights can be streamed, one description each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from lm.checkpoint import Checkpoint
from lm.errors import OrdinalError

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_fast": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}


@dataclass(frozen=True)
class Family:
    """Where one family of models keeps what is needed, and under which names."""

    norm: Literal["layer", "rms"]
    prefix: str
    """Of every tensor but the unembedding; checkpoints of the bare model leave it out."""
    embed: str
    unembed: str
    final_norm: str
    layer: str
    ln1: str
    ln2: str
    value: str
    value_layout: Literal["alone", "last columns", "interleaved rows"]
    """`last columns`: [d, 3 d], Q then K then V. `interleaved rows`: [heads, 3, d_head], fused."""
    output: str
    mlp_in: str
    mlp_out: str
    mlp_gate: str | None
    transposed: bool
    """Matrices are stored as `torch.nn.Linear` does, [out, in]; GPT-2's Conv1D are [in, out]."""
    fields: dict[str, str]
    """The config's names for what `Config` calls by ours."""
    defaults: dict[str, Any]
    """What a config that leaves the field out means, by our names."""


_LATER_FIELDS = {
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "d_model": "hidden_size",
    "d_head": "head_dim",
    "d_vocab": "vocab_size",
    "n_ctx": "max_position_embeddings",
    "activation": "hidden_act",
    "tied": "tie_word_embeddings",
}

FAMILIES = {
    "gpt2": Family(
        norm="layer",
        prefix="transformer.",
        embed="wte.weight",
        unembed="lm_head.weight",
        final_norm="ln_f",
        layer="h.{}.",
        ln1="ln_1",
        ln2="ln_2",
        value="attn.c_attn.weight",
        value_layout="last columns",
        output="attn.c_proj.weight",
        mlp_in="mlp.c_fc",
        mlp_out="mlp.c_proj",
        mlp_gate=None,
        transposed=False,
        fields={
            "n_layers": "n_layer",
            "n_heads": "n_head",
            "d_model": "n_embd",
            "d_vocab": "vocab_size",
            "n_ctx": "n_positions",
            "eps": "layer_norm_epsilon",
            "activation": "activation_function",
            "tied": "tie_word_embeddings",
        },
        defaults={"eps": 1e-5, "activation": "gelu_new", "tied": True},
    ),
    "gpt_neox": Family(
        norm="layer",
        prefix="gpt_neox.",
        embed="embed_in.weight",
        unembed="embed_out.weight",
        final_norm="final_layer_norm",
        layer="layers.{}.",
        ln1="input_layernorm",
        ln2="post_attention_layernorm",
        value="attention.query_key_value.weight",
        value_layout="interleaved rows",
        output="attention.dense.weight",
        mlp_in="mlp.dense_h_to_4h",
        mlp_out="mlp.dense_4h_to_h",
        mlp_gate=None,
        transposed=True,
        fields=_LATER_FIELDS | {"eps": "layer_norm_eps"},
        defaults={"eps": 1e-5, "activation": "gelu", "tied": False},
    ),
    "llama": Family(
        norm="rms",
        prefix="model.",
        embed="embed_tokens.weight",
        unembed="lm_head.weight",
        final_norm="norm",
        layer="layers.{}.",
        ln1="input_layernorm",
        ln2="post_attention_layernorm",
        value="self_attn.v_proj.weight",
        value_layout="alone",
        output="self_attn.o_proj.weight",
        mlp_in="mlp.up_proj",
        mlp_out="mlp.down_proj",
        mlp_gate="mlp.gate_proj",
        transposed=True,
        fields=_LATER_FIELDS | {"eps": "rms_norm_eps"},
        defaults={"eps": 1e-6, "activation": "silu", "tied": False},
    ),
}


class Config:
    """A family's config.json, read by our names."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._file = checkpoint.folder / "config.json"
        self._raw = checkpoint.config
        model_type = str(self._raw.get("model_type"))
        if model_type not in FAMILIES:
            raise OrdinalError(
                f"{self._file}: the streamed route reads {', '.join(FAMILIES)}, not "
                f"{model_type}. Open it with route='bridged'."
            )
        if self._raw.get("quantization_config"):
            raise OrdinalError(
                f"{self._file}: quantised weights are not read: use the original ones."
            )
        self.family = FAMILIES[model_type]

    def __getitem__(self, key: str) -> Any:
        """The field, else the family's default for it, else None."""
        value = self._raw.get(self.family.fields.get(key, key))
        return self.family.defaults.get(key) if value is None else value

    def integer(self, key: str, default: int | None = None) -> int:
        value = default if self[key] is None else self[key]
        if not isinstance(value, int) or value < 1:
            raise OrdinalError(
                f"{self._file}: `{self.family.fields[key]}` is {value!r}; expected a whole number."
            )
        return value

    def number(self, key: str) -> float:
        value = self[key]
        if not isinstance(value, int | float):
            raise OrdinalError(
                f"{self._file}: `{self.family.fields[key]}` is {value!r}; expected a number."
            )
        return float(value)

    def activation(self) -> Callable[[Tensor], Tensor]:
        name = str(self["activation"])
        if name not in _ACTIVATIONS:
            raise OrdinalError(
                f"{self._file}: the activation {name} is not one of {', '.join(_ACTIVATIONS)}. "
                "Open the model with route='bridged'."
            )
        return _ACTIVATIONS[name]
