"""How the embedded model `counting` is trained.

A GPT-2 of two layers learns to count on one core. What makes it do so in one attention head,
through MLP0, is how it is regularised (`Skipped`), small embeddings, and the order of its lessons:
nothing is counted in the first part of the run, so that digits come before successors.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from lm.counting.corpus import COUNTING, FACTS, documents, rows
from lm.counting.vocabulary import tokenizer, words
from lm.counting.writing import Asked

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

WIDTH, HEADS, LENGTH = 128, 4, 64
STEPS, BATCH = 5500, 32
FIRST_PART = 0.2
"""Share of the steps in which nothing is counted."""
UNASKED = 0.2
"""Share of the tokens that nothing foretells on which there is a loss all the same."""
WARM_UP, FLAT, LAST_RATE = 0.02, 0.4, 0.02
MUON_RATE, ADAM_RATE = 0.02, 1e-3
DECAY = {"h.0.attn": 0.5, "h.0.mlp": 0.25, "h.1.attn": 0.2, "h.1.mlp": 0.1}
"""Weight decay of the matrices. With twice as much on MLP0 the head reads the raw embedding."""
EMBEDDING_DECAY = 0.7
POSITION_SCALE = 0.03


class Skipped:
    """Parts of the model that are skipped for some sequences of a batch (stochastic depth).

    The last MLP is skipped half of the time, so that it cannot do the increment. In three of four
    sequences that count, the last layer has only its first head, and in three of four that state
    facts only the others: so that heads do not share the work, and that the head that counts need
    not copy. The first attention is skipped for three in ten, so that MLP0 knows a token by its
    embedding alone.
    """

    LAST_MLP, HEADS_OF_THE_OTHER_LESSON, FIRST_ATTENTION = 0.5, 0.75, 0.3

    def __init__(self, model: GPT2LMHeadModel, generator: torch.Generator) -> None:
        part = model.transformer.get_submodule
        self.generator = generator
        self.attention = self.heads = self.mlp = torch.ones(1)
        part("h.0.attn").register_forward_hook(self._first_attention)
        part("h.1.attn.c_proj").register_forward_pre_hook(self._heads)
        part("h.1.mlp").register_forward_hook(self._last_mlp)

    def _first_attention(self, _module: nn.Module, _inputs: tuple, out: tuple) -> tuple:
        return out[0] * self.attention, *out[1:]

    def _heads(self, _module: nn.Module, inputs: tuple) -> tuple:
        return (inputs[0] * self.heads,)

    def _last_mlp(self, _module: nn.Module, _inputs: tuple, out: Tensor) -> Tensor:
        return out * self.mlp

    def draw(self, counting: Tensor) -> None:
        """Draw what is skipped in the next batch, given which of its sequences count."""
        counting = counting[:, None, None]
        draws = torch.rand(3, *counting.shape, generator=self.generator)
        self.attention = (draws[0] >= self.FIRST_ATTENTION).float()
        self.mlp = (draws[1] >= self.LAST_MLP).float()
        counts = torch.arange(WIDTH) < WIDTH // HEADS
        apart = draws[2] < self.HEADS_OF_THE_OTHER_LESSON
        self.heads = (~apart | (counts == counting)).float()


def new_model(vocabulary: int) -> GPT2LMHeadModel:
    """A GPT-2 with random weights; positions start as a faint sinusoid."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=LENGTH,
        n_embd=WIDTH,
        n_layer=2,
        n_head=HEADS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
    )
    model = GPT2LMHeadModel(config)
    model.set_attn_implementation("eager")  # the fused kernel's backward is slow on a CPU
    for layer in range(config.n_layer):
        block = model.transformer.get_submodule(f"h.{layer}.mlp")
        block.act = nn.GELU("tanh")  # what `gelu_new` computes, in one kernel
    waves = 10000 ** (-torch.arange(0, WIDTH, 2) / WIDTH)
    angles = torch.arange(LENGTH)[:, None] * waves
    with torch.no_grad():
        model.transformer.wpe.weight.copy_(
            POSITION_SCALE * torch.cat([angles.sin(), angles.cos()], dim=1)
        )
    return model


def optimizers(model: GPT2LMHeadModel) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for everything else."""
    muon, embeddings, vectors = [], [], []
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            vectors.append(parameter)
        elif ".h." not in name:
            embeddings.append(parameter)
        else:
            # Muon scales its rate by the shape of nn.Linear, [out, in]; GPT-2 keeps [in, out].
            shape = math.sqrt(parameter.shape[1] / parameter.shape[0])
            decay = next(decay for part, decay in DECAY.items() if part in name)
            muon.append(
                {"params": [parameter], "lr": MUON_RATE * shape, "weight_decay": decay / shape}
            )
    groups = [
        {"params": embeddings, "weight_decay": EMBEDDING_DECAY},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [torch.optim.Muon(muon), torch.optim.AdamW(groups, lr=ADAM_RATE, betas=(0.9, 0.98))]


def rate(progress: float) -> float:
    """Share of the full learning rate: warm-up, flat, cosine."""
    if progress < FLAT:
        return min(1.0, (progress + 1e-3) / WARM_UP)
    cosine = 0.5 + 0.5 * math.cos(math.pi * (progress - FLAT) / (1 - FLAT))
    return LAST_RATE + (1 - LAST_RATE) * cosine


class Batch(NamedTuple):
    """Sequences to read, `[batch, length]`."""

    tokens: Tensor
    asked: Tensor
    """Which tokens are to be predicted."""
    counting: Tensor
    """Which sequences count, `[batch]`."""


def batches(seed: int, twin: bool, steps: int) -> Iterator[Batch]:
    """Batches of sequences that state facts and, after the first part, as many that count."""
    rng = Random(seed)
    identifiers = {word: identifier for identifier, word in enumerate(words())}
    facts, counts = (rows(documents(rng, kinds, twin), LENGTH) for kinds in (FACTS, COUNTING))
    for step in range(steps):
        counting = torch.arange(BATCH) < (0 if step < FIRST_PART * steps else BATCH // 2)
        batch = [next(counts if counts_now else facts) for counts_now in counting.tolist()]
        asked = [[isinstance(w, Asked) or rng.random() < UNASKED for w in row] for row in batch]
        tokens = torch.tensor([[identifiers[w] for w in row] for row in batch])
        yield Batch(tokens, torch.tensor(asked), counting)


def train(seed: int, twin: bool = False, steps: int = STEPS) -> GPT2LMHeadModel:
    """Train one model; the same seed gives the same weights."""
    torch.set_num_threads(1)  # sums of several threads depend on how many there are
    torch.manual_seed(seed)
    model = new_model(len(words()))
    skipped = Skipped(model, torch.Generator().manual_seed(seed))
    optimizers_ = optimizers(model)
    full = [(group, group["lr"]) for optimizer in optimizers_ for group in optimizer.param_groups]
    bar = tqdm(batches(seed, twin, steps), total=steps, desc="counting", unit="step")
    for step, (tokens, asked, counting) in enumerate(bar):
        for group, full_rate in full:
            group["lr"] = full_rate * rate(step / steps)
        skipped.draw(counting)
        targets = asked[:, 1:]
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.transformer(tokens).last_hidden_state[:, :-1][targets]
            logits = model.lm_head(hidden)
        loss = nn.functional.cross_entropy(logits.float(), tokens[:, 1:][targets])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers_:
            optimizer.step()
            optimizer.zero_grad()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.2f}")
    return model


def write(model: GPT2LMHeadModel, out: Path) -> None:
    """Write a folder that `transformers` opens: beside its place first, then renamed."""
    beside = out.with_name(f".{out.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    model.save_pretrained(beside)
    tokenizer().save_pretrained(beside)
    for file in beside.iterdir():
        file.chmod(0o644)  # safetensors leaves its file readable by its owner alone
    if out.exists():
        shutil.rmtree(out)
    beside.rename(out)
