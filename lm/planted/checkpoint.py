"""A checkpoint in which features and a successor head are planted, in GPT-2's format.

How it works:

- MLP0 computes M with one hidden unit a token, which fires on that token's embedding alone.
- The planted head reads the directions of M with their dual basis, which tells overlapping ones
  apart as long as they are linearly independent, and writes what it reads along directions of its
  own. There the token that comes next is unembedded (see lm/planted/code.py).
- All other heads are random.

The head scores 1.00 at the default dials. At the reference dials it scores 0.998 to 1.000 over ten
seeds (numbers 0.983 to 0.998): noise then hides a hundred now and then. Without residues, or in
superposition, no head of this kind can tell all numbers apart.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lm.files import replacing, write_safetensors
from lm.planted.activations import HEAD, LAYER, Planted, plan
from lm.planted.truth import N_HEADS, PlantedDials, PlantedTruth

N_LAYERS = 2
N_CTX = 64
RANDOM_STD = 0.02
"""Of every weight that is not planted."""
SHARPNESS = 0.5
"""Slope of MLP0's hidden units."""


def plant(
    folder: str | Path,
    dials: PlantedDials | None = None,
    *,
    seed: int = 0,
    shuffled: bool = False,
) -> PlantedTruth:
    """Write a small GPT-2 checkpoint with known features and one successor head.

    Args:
        folder: written as a whole (config.json, model.safetensors, tokenizer.json, and
            truth.safetensors, which `load_truth` reads); replaced if it is there. `open_model` and
            `transformers` open it.
        dials: the default's are easy; `REFERENCE` is hard.
        seed: of all directions and random weights.
        shuffled: the negative twin. Indices are relabelled at random (numbers within bands of 50,
            alike in tasks of the same length) before residues and tens are taken of them, so that
            no direction of M goes with n mod 10, while the head still finds every successor.

    Raises:
        OrdinalError: the folder cannot be written.

    Example:
        >>> truth = plant("planted")
        >>> model = open_model("planted")
    """
    generator = torch.Generator().manual_seed(seed)
    planted = plan(dials or PlantedDials(), generator, shuffled)
    with replacing(Path(folder)) as partial:
        partial.mkdir()
        write_safetensors(
            _weights(planted, generator), partial / "model.safetensors", {"format": "pt"}
        )
        (partial / "config.json").write_text(json.dumps(_config(planted), indent=2))
        planted.vocabulary.save(partial, N_CTX)
        planted.truth.save(partial)
    return planted.truth


def _weights(planted: Planted, generator: torch.Generator) -> dict[str, Tensor]:
    def random(*shape: int) -> Tensor:
        return RANDOM_STD * torch.randn(*shape, generator=generator)

    n_code, d_model = planted.code.shape
    n_tokens = len(planted.m)
    # The head writes where M is not, so that it alone reaches the unembedding; embeddings avoid
    # both, so that the residual stream carries the code from MLP0 alone.
    written, rest = planted.spare[:n_code], planted.spare[n_code:]
    embedding = torch.randn(n_tokens, len(rest), generator=generator) @ rest
    keys = F.layer_norm(embedding, (d_model,))
    overlap = keys @ keys.T
    own = overlap.diagonal()
    others = overlap.clone().fill_diagonal_(float("-inf")).amax(1)
    threshold = (own + others) / 2
    fired = F.gelu(SHARPNESS * (own - threshold), approximate="tanh")

    weights = {
        "transformer.wte.weight": embedding,
        "transformer.wpe.weight": torch.zeros(N_CTX, d_model),
        "transformer.ln_f.weight": torch.ones(d_model),
        "transformer.ln_f.bias": torch.zeros(d_model),
        "lm_head.weight": random(n_tokens, d_model) + planted.followed @ written,
    }
    for layer in range(N_LAYERS):
        name = f"transformer.h.{layer}."
        for norm in ("ln_1", "ln_2"):
            weights[f"{name}{norm}.weight"] = torch.ones(d_model)
            weights[f"{name}{norm}.bias"] = torch.zeros(d_model)
        weights[name + "attn.c_attn.weight"] = random(d_model, 3 * d_model)
        weights[name + "attn.c_attn.bias"] = torch.zeros(3 * d_model)
        weights[name + "attn.c_proj.weight"] = random(d_model, d_model)
        weights[name + "attn.c_proj.bias"] = torch.zeros(d_model)
        weights[name + "mlp.c_fc.weight"] = random(d_model, n_tokens)
        weights[name + "mlp.c_fc.bias"] = torch.zeros(n_tokens)
        weights[name + "mlp.c_proj.weight"] = random(n_tokens, d_model)
        weights[name + "mlp.c_proj.bias"] = torch.zeros(d_model)
    weights["transformer.h.0.mlp.c_fc.weight"] = SHARPNESS * keys.T.contiguous()
    weights["transformer.h.0.mlp.c_fc.bias"] = -SHARPNESS * threshold
    weights["transformer.h.0.mlp.c_proj.weight"] = planted.m / fired[:, None]
    _set_head(weights, planted.code, written)
    return weights


def _set_head(
    weights: dict[str, Tensor],
    code: Float[Tensor, "directions d_model"],
    written: Float[Tensor, "directions d_model"],
) -> None:
    """W_V reads how much of each direction is there, W_O writes it for the unembedding."""
    n_code, d_model = code.shape
    d_head = d_model // N_HEADS
    first = HEAD * d_head
    value = weights[f"transformer.h.{LAYER}.attn.c_attn.weight"][:, 2 * d_model :]
    value[:, first : first + d_head] = 0
    value[:, first : first + n_code] = torch.linalg.pinv(code, rtol=1e-4)
    output = weights[f"transformer.h.{LAYER}.attn.c_proj.weight"]
    output[first : first + d_head] = 0
    output[first : first + n_code] = written


def _config(planted: Planted) -> dict[str, object]:
    n_vocab, d_model = planted.m.shape
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "n_embd": d_model,
        "n_head": N_HEADS,
        "n_inner": n_vocab,
        "n_layer": N_LAYERS,
        "n_positions": N_CTX,
        "vocab_size": n_vocab,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
