"""Checkpoints whose number features and successor head are known, because they were put there.

The weights are set by hand; nothing is trained. Use one to see what the tool reports when the
truth is known: a method that does not find these features would not find real ones either.

How it works, for a token t with index n (the number 37; the 3rd month):

- M(t) is a sum of orthonormal directions: residue `n mod 10`, tens `n // 10`, the task, the
  spelling, an ordinal direction in proportion to n, and a little noise of the token's own. MLP0
  computes it with one hidden unit a token, which fires on that token's embedding alone.
- The planted head reads residue, tens, task and spelling, and writes them elsewhere. The token
  that comes after t is unembedded with the code of t: so a carry (39 to 40) is linear, and every
  task is continued, cyclic ones too. The ordinal direction is not read: editing it does nothing.
- All other heads are random.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from lm.files import replacing, write_safetensors
from lm.ordinals import OrdinalTask, load_tasks

LAST_NUMBER = 199
LAYER, HEAD = 1, 2
N_LAYERS, N_HEADS, D_HEAD = 2, 4, 64
D_MODEL = N_HEADS * D_HEAD
N_CTX = 64

RESIDUE_SCALE, TENS_SCALE, TASK_SCALE, FORM_SCALE, ORDINAL_SCALE = 3.0, 2.0, 1.5, 1.5, 2.0
ITEM_NOISE = 0.05
RANDOM_STD = 0.02
"""Of every weight that is not planted."""
SIDE_READING = 0.3
"""How much task and spelling count in the unembedding, where residue and tens count 1. `May` is of
two tasks but has one M, and must follow `Apr` as well as `April`."""
SHARPNESS = 0.2
"""Slope of MLP0's hidden units."""

END, UNKNOWN = "<|endoftext|>", "<unk>"
_SPLIT = r" ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]|\s"


@dataclass(frozen=True)
class PlantedTruth:
    """What was planted: unit directions in M, orthogonal to each other."""

    layer: int
    head: int
    residues: Float[Tensor, "10 d_model"]
    """Row r is in M(t) where the index is r mod 10 (or where the shuffled label is)."""
    tens: Float[Tensor, "20 d_model"]
    tasks: dict[str, Float[Tensor, " d_model"]]
    ordinal: Float[Tensor, " d_model"]
    residue_scale: float
    """The length of a residue direction in M: adding `scale * (f_j - f_i)` replaces i by j."""


class _Item(NamedTuple):
    text: str
    label: int
    """What the residue and the tens are of: the index, unless the labels are shuffled."""
    previous: int | None
    """The label of the token that comes before."""
    size: float
    """The index, from 0 to 1 within its task."""
    task: str
    form: str


def plant(folder: str | Path, seed: int = 0, *, shuffled: bool = False) -> PlantedTruth:
    """Write a small GPT-2 checkpoint with known features and one successor head.

    Args:
        folder: written as a whole (config.json, model.safetensors, tokenizer.json); replaced if
            it is there. `open_model` and `transformers` open it.
        seed: of all directions and random weights.
        shuffled: the negative twin. Indices are relabelled at random (alike in tasks of the same
            length) before residues and tens are taken of them, so that no direction of M goes with
            n mod 10, while the head still finds every successor.

    Raises:
        OrdinalError: the folder cannot be written.

    Example:
        >>> truth = plant("planted")
        >>> model = open_model("planted")
    """
    generator = torch.Generator().manual_seed(seed)
    items = _items(generator, shuffled)
    words = list(dict.fromkeys([END, UNKNOWN, *(item.text for item in items)]))
    truth, weights = _weights(items, {word: i for i, word in enumerate(words)}, generator)
    with replacing(Path(folder)) as partial:
        partial.mkdir()
        write_safetensors(weights, partial / "model.safetensors", {"format": "pt"})
        (partial / "config.json").write_text(json.dumps(_config(len(words)), indent=2))
        _tokenizer(words).save(str(partial / "tokenizer.json"))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": N_CTX}
        settings |= {"bos_token": END, "eos_token": END, "pad_token": END, "unk_token": UNKNOWN}
        (partial / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
    return truth


def _items(generator: torch.Generator, shuffled: bool) -> list[_Item]:
    items = []
    labels: dict[tuple[int, int], dict[int, int]] = {}
    for name, task in load_tasks(numbers=(0, LAST_NUMBER)).items():
        first, last = _ends(task)
        if (first, last) not in labels:
            order = torch.randperm(last - first + 1, generator=generator).tolist()
            labels[first, last] = {
                first + i: first + order[i] if shuffled else first + i for i in order
            }
        label = labels[first, last]
        before = {task.following(i): label[i] for i in label}
        for index, form, text in task.spellings():
            size = (index - first) / (last - first)
            items.append(_Item(text, label[index], before.get(index), size, name, form))
    # A token of two tasks (May) is planted once, for the first of them.
    return list({item.text: item for item in reversed(items)}.values())[::-1]


def _ends(task: OrdinalTask) -> tuple[int, int]:
    if task.range is not None:
        return task.range
    assert task.elements is not None
    return task.first, task.first + len(task.elements) - 1


def _weights(
    items: list[_Item], token: dict[str, int], generator: torch.Generator
) -> tuple[PlantedTruth, dict[str, Tensor]]:
    def random(*shape: int) -> Tensor:
        return RANDOM_STD * torch.randn(*shape, generator=generator)

    tasks = list(dict.fromkeys(item.task for item in items))
    forms = list(dict.fromkeys(item.form for item in items))
    n_tens = LAST_NUMBER // 10 + 1
    n_code = 10 + n_tens + len(tasks) + len(forms)
    # Row 0 is the constant direction, which LayerNorm takes off: everything else avoids it.
    basis = torch.randn(D_MODEL, D_MODEL, generator=generator)
    basis[:, 0] = 1
    directions = torch.linalg.qr(basis).Q.T[1:]
    code, written, (ordinal,), rest = directions.split(
        [n_code, n_code, 1, D_MODEL - 2 - 2 * n_code]
    )

    def columns(item: _Item, label: int) -> list[int]:
        task = 10 + n_tens + tasks.index(item.task)
        form = 10 + n_tens + len(tasks) + forms.index(item.form)
        return [label % 10, 10 + label // 10, task, form]

    in_m = torch.tensor([RESIDUE_SCALE, TENS_SCALE, TASK_SCALE, FORM_SCALE])
    in_readout = torch.tensor([1.0, 1.0, SIDE_READING, SIDE_READING])
    m = ITEM_NOISE * torch.randn(len(token), len(rest), generator=generator) @ rest
    readout = random(len(token), D_MODEL)
    for item in items:
        row = token[item.text]
        m[row] += in_m @ code[columns(item, item.label)] + ORDINAL_SCALE * item.size * ordinal
        if item.previous is not None:
            readout[row] += in_readout @ written[columns(item, item.previous)]

    # Embeddings avoid the code, so that the residual stream carries it from MLP0 alone.
    embedding = torch.randn(len(token), len(rest), generator=generator) @ rest
    keys = F.layer_norm(embedding, (D_MODEL,))
    overlap = keys @ keys.T
    own = overlap.diagonal()
    others = overlap.clone().fill_diagonal_(float("-inf")).amax(1)
    threshold = (own + others) / 2
    fired = F.gelu(SHARPNESS * (own - threshold), approximate="tanh")

    weights = {
        "transformer.wte.weight": embedding,
        "transformer.wpe.weight": torch.zeros(N_CTX, D_MODEL),
        "transformer.ln_f.weight": torch.ones(D_MODEL),
        "transformer.ln_f.bias": torch.zeros(D_MODEL),
        "lm_head.weight": readout,
    }
    for layer in range(N_LAYERS):
        name = f"transformer.h.{layer}."
        for norm in ("ln_1", "ln_2"):
            weights[f"{name}{norm}.weight"] = torch.ones(D_MODEL)
            weights[f"{name}{norm}.bias"] = torch.zeros(D_MODEL)
        weights[name + "attn.c_attn.weight"] = random(D_MODEL, 3 * D_MODEL)
        weights[name + "attn.c_attn.bias"] = torch.zeros(3 * D_MODEL)
        weights[name + "attn.c_proj.weight"] = random(D_MODEL, D_MODEL)
        weights[name + "attn.c_proj.bias"] = torch.zeros(D_MODEL)
        weights[name + "mlp.c_fc.weight"] = random(D_MODEL, len(token))
        weights[name + "mlp.c_fc.bias"] = torch.zeros(len(token))
        weights[name + "mlp.c_proj.weight"] = random(len(token), D_MODEL)
        weights[name + "mlp.c_proj.bias"] = torch.zeros(D_MODEL)
    weights["transformer.h.0.mlp.c_fc.weight"] = SHARPNESS * keys.T.contiguous()
    weights["transformer.h.0.mlp.c_fc.bias"] = -SHARPNESS * threshold
    weights["transformer.h.0.mlp.c_proj.weight"] = m / fired[:, None]
    _set_head(weights, code, written)
    truth = PlantedTruth(
        layer=LAYER,
        head=HEAD,
        residues=code[:10].clone(),
        tens=code[10 : 10 + n_tens].clone(),
        tasks={task: code[10 + n_tens + i].clone() for i, task in enumerate(tasks)},
        ordinal=ordinal.clone(),
        residue_scale=RESIDUE_SCALE,
    )
    return truth, weights


def _set_head(
    weights: dict[str, Tensor],
    code: Float[Tensor, "code d_model"],
    written: Float[Tensor, "code d_model"],
) -> None:
    """W_V reads the code, W_O writes it along the directions that the unembedding reads."""
    first = HEAD * D_HEAD
    value = weights[f"transformer.h.{LAYER}.attn.c_attn.weight"][:, 2 * D_MODEL :]
    value[:, first : first + D_HEAD] = 0
    value[:, first : first + len(code)] = code.T
    output = weights[f"transformer.h.{LAYER}.attn.c_proj.weight"]
    output[first : first + D_HEAD] = 0
    output[first : first + len(code)] = written


def _config(n_vocab: int) -> dict[str, object]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "n_embd": D_MODEL,
        "n_head": N_HEADS,
        "n_inner": n_vocab,
        "n_layer": N_LAYERS,
        "n_positions": N_CTX,
        "vocab_size": n_vocab,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }


def _tokenizer(words: list[str]) -> Tokenizer:
    """One token a word or number, with or without its leading space."""
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=UNKNOWN)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([END, UNKNOWN])
    return tokenizer
