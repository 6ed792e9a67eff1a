"""Activations of a model that was never trained: no number feature, whatever is found."""

import tempfile
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from lm.access import mlp0_outputs
from lm.files import write_safetensors
from lm.open import open_model
from lm.ordinals import OrdinalTokens
from lm.planted.vocabulary import vocabulary

N_CTX = 8


def untrained_activations(
    d_model: int = 128, numbers: int = 299, *, seed: int = 0
) -> tuple[OrdinalTokens, Float[Tensor, "tokens d_model"]]:
    """M(t) of a GPT-2 with the random weights that `transformers` starts training from.

    Spellings of a number are tokens of their own, so that nothing at all is shared between them.

    Args:
        d_model: a multiple of four.
        numbers: last number.
        seed: of the weights.

    Example:
        >>> tokens, m = untrained_activations(seed=1)
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    everything = vocabulary(numbers)
    config = GPT2Config(
        vocab_size=len(everything.words),
        n_embd=d_model,
        n_layer=1,
        n_head=4,
        n_positions=N_CTX,
        bos_token_id=0,
        eos_token_id=0,
    )
    with tempfile.TemporaryDirectory(prefix="ordinal-") as name:
        folder = Path(name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            weights = GPT2LMHeadModel(config).transformer.state_dict(prefix="transformer.")
        config.save_pretrained(folder)
        write_safetensors(weights, folder / "model.safetensors", {"format": "pt"})
        everything.save(folder, N_CTX)
        model = open_model(name)
        ids = torch.tensor(everything.tokens.table["token_id"].to_numpy())
        return everything.tokens, mlp0_outputs(model, ids)
