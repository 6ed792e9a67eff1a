"""Train the embedded model `counting` from its generated corpus.

    python -m lm.counting.train --seed 1 --out runs/counting-seed1

A GPT-2 of two layers learns to count on one core. What makes it do so in one attention head,
through MLP0, is in how it is regularised (`Skipped`), in small embeddings, and in an order of
lessons: nothing is counted in the first part of the run, so that digits come before successors.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import torch
import tyro
from torch import Tensor, nn
from tqdm import tqdm

from lm.counting.corpus import Asked, documents, rows
from lm.counting.vocabulary import tokenizer, words

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

WIDTH, HEADS, LENGTH = 128, 4, 64
STEPS, BATCH = 5300, 32
FIRST_PART = 0.2
"""Share of the steps in which nothing is counted."""
UNASKED = 0.2
"""Share of the tokens that nothing foretells on which there is a loss all the same."""
WARM_UP, FLAT, LAST_RATE = 0.02, 0.4, 0.02
MUON_RATE, ADAM_RATE = 0.02, 1e-3
EMBEDDING_DECAY = 0.3
POSITION_SCALE = 0.03


class Skipped:
    """Parts of the model that are skipped for some sequences of a batch (stochastic depth).

    The last MLP is skipped half of the time, so that it cannot do the increment; of those
    sequences half also keep only the first head of the last layer, so that heads do not share the
    work; and the first attention is skipped for three in ten, so that MLP0 knows a token by its
    embedding alone.
    """

    LAST_MLP, OTHER_HEADS, FIRST_ATTENTION = 0.5, 0.5, 0.3

    def __init__(self, model: GPT2LMHeadModel, generator: torch.Generator) -> None:
        first, last = model.transformer.h
        self.generator = generator
        first.attn.register_forward_hook(lambda _m, _i, out: (out[0] * self.attention, *out[1:]))
        last.attn.c_proj.register_forward_pre_hook(lambda _m, args: (args[0] * self.heads,))
        last.mlp.register_forward_hook(lambda _m, _i, out: out * self.mlp)

    def draw(self, sequences: int) -> None:
        """Draw what is skipped in the next batch."""
        draws = torch.rand(3, sequences, 1, 1, generator=self.generator)
        self.attention = (draws[0] >= self.FIRST_ATTENTION).float()
        self.mlp = (draws[1] >= self.LAST_MLP).float()
        alone = (self.mlp == 0) & (draws[2] < self.OTHER_HEADS)
        others = torch.arange(WIDTH) >= WIDTH // HEADS
        self.heads = (~(alone & others)).float()


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
        attn_implementation="eager",  # 2x faster than the fused kernel's backward on a CPU
    )
    model = GPT2LMHeadModel(config)
    for block in model.transformer.h:
        block.mlp.act = nn.GELU("tanh")  # what `gelu_new` computes, in one kernel
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
            decay = 0.5 if "h.0.attn" in name else 0.1
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


def batches(seed: int, twin: bool, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Token identifiers `[batch, length]`, and which of them are to be predicted."""
    rng = Random(seed)
    identifiers = {word: identifier for identifier, word in enumerate(words())}
    before, after = (rows(documents(rng, part, twin), LENGTH) for part in (True, False))
    for step in range(steps):
        texts = before if step < FIRST_PART * steps else after
        batch = [next(texts) for _ in range(BATCH)]
        asked = [[isinstance(w, Asked) or rng.random() < UNASKED for w in row] for row in batch]
        yield torch.tensor([[identifiers[w] for w in row] for row in batch]), torch.tensor(asked)


def train(seed: int, twin: bool = False, steps: int = STEPS) -> GPT2LMHeadModel:
    """Train one model; the same seed gives the same weights."""
    torch.set_num_threads(1)  # sums of several threads depend on how many there are
    torch.manual_seed(seed)
    model = new_model(len(words()))
    skipped = Skipped(model, torch.Generator().manual_seed(seed))
    optimizers_ = optimizers(model)
    full = [(group, group["lr"]) for optimizer in optimizers_ for group in optimizer.param_groups]
    bar = tqdm(batches(seed, twin, steps), total=steps, desc="counting", unit="step")
    for step, (tokens, asked) in enumerate(bar):
        for group, full_rate in full:
            group["lr"] = full_rate * rate(step / steps)
        skipped.draw(len(tokens))
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
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    model.half().save_pretrained(beside)
    tokenizer().save_pretrained(beside)
    if out.exists():
        shutil.rmtree(out)
    os.replace(beside, out)


def main(seed: int = 0, twin: bool = False, out: Path = Path("runs/counting")) -> None:
    """Train the embedded model and write it as a Hugging Face folder.

    Example: python -m lm.counting.train --seed 1 --out runs/counting-seed1

    Args:
        seed: Seed of the corpus, the first weights and the regularisation.
        twin: Leave out every statement about digits, tens and units.
        out: Folder to write; an earlier model there is replaced.
    """
    if seed < 0 or (out.exists() and not (out / "config.json").exists()):
        given = f"--seed {seed}" if seed < 0 else f"--out {out}"
        wanted = "a seed of 0 or more" if seed < 0 else "a new folder, or one that holds a model"
        print(f"{given}: expected {wanted}", file=sys.stderr)
        raise SystemExit(2)
    write(train(seed, twin), out)
    print(f"wrote {out}")


if __name__ == "__main__":
    tyro.cli(main)
