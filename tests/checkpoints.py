"""Small random checkpoints, in the layouts that the hub has them in."""

import json
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lm.ordinals import load_tasks

FamilyName = Literal["gpt2", "gpt_neox", "llama"]

D_MODEL, N_HEADS, N_LAYERS, N_CTX = 48, 4, 3, 32
LAST_NUMBER = 60


def byte_level_tokenizer() -> Tokenizer:
    """A byte-level BPE, as GPT-2's and Pythia's, with the ordinal words and numbers in it."""
    words = [
        text
        for task in load_tasks(numbers=(0, LAST_NUMBER)).values()
        for _, _, text in task.spellings()
    ]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=5000,
        min_frequency=1,
        show_progress=False,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(words, trainer)
    return tokenizer


def sentencepiece_tokenizer(words: list[str]) -> Tokenizer:
    """A tokenizer that puts `▁` before every text, as Llama-2's; `words` with `▁` spelled out."""
    vocabulary = [("<unk>", 0.0), *((word, -1.0) for word in words)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    return tokenizer


def save_tokenizer(folder: Path) -> int:
    """Write tokenizer.json (and what `AutoTokenizer` asks for beside it); its vocabulary's size."""
    tokenizer = byte_level_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    end = "<|endoftext|>"
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": end, "eos_token": end}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": end}))
    return tokenizer.get_vocab_size()


def save_checkpoint(
    folder: Path,
    family: FamilyName,
    *,
    tied: bool = False,
    sharded: bool = False,
    dtype: torch.dtype = torch.float32,
    bare: bool = False,
    **settings: Any,
) -> Path:
    """A model with random weights everywhere, biases and gains too.

    Args:
        folder: to write to.
        family: gives the architecture; grouped queries and a head_dim of its own for Llama.
        tied: whether the unembedding is the embedding.
        sharded: several weight files and an index.
        dtype: of the stored weights.
        bare: saved without the language-modelling head, so that names have no prefix.
        settings: more fields of the config.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    size = save_tokenizer(folder)
    names: dict[str, Any] = {
        "hidden_size": D_MODEL,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": N_HEADS,
        "intermediate_size": 80,
        "max_position_embeddings": N_CTX,
    }
    if family == "gpt2":
        names = {"n_embd": D_MODEL, "n_layer": N_LAYERS, "n_head": N_HEADS, "n_positions": N_CTX}
    if family == "llama":
        names |= {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16}
    config = AutoConfig.for_model(
        family, vocab_size=size, tie_word_embeddings=tied, bos_token_id=0, eos_token_id=0,
        **names | settings,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            gain = parameter.ndim == 1 and name.endswith("weight")
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.2 * noise if gain else 0.2 * noise)
    saved = model.base_model if bare else model
    saved.to(dtype).save_pretrained(folder, max_shard_size="100KB" if sharded else "5GB")
    return folder
