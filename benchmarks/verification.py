"""What verification costs: every edit in a few products, against prompts one by one with hooks.

    python -m benchmarks.verification

Both make the paper's edit M(t) + k (f_j - f_i) of every token, to every residue, at every scale,
and read one head, in a GPT-NeoX checkpoint with random weights (there M(t) is MLP0's output in
context exactly). TransformerLens runs a prompt for each edit, with a hook on MLP0's output; it is
timed on a few and the rest is extrapolated. On those few the two are compared number by number.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.timing import timed
from eval.patching.edits import EditedReadout, Edits, possible_edits
from eval.patching.operators import Add
from eval.patching.readout import Readout, readouts
from features.directions import class_mean_directions
from lm.access import LanguageModel
from lm.bridged import BridgedModel
from lm.circuit import unembedding
from lm.open import open_model
from lm.ordinals import OrdinalTokens, load_tasks, ordinal_tokens
from lm.planted.vocabulary import vocabulary
from training.activations import Activations
from training.harvest import harvest

LAYER, HEAD = 1, 3
SCALES = np.linspace(0.2, 4, 20).tolist()
MLP_OUT = "blocks.0.hook_mlp_out"
Z, SCALE = f"blocks.{LAYER}.attn.hook_z", f"blocks.{LAYER}.ln1.hook_scale"


@dataclass(frozen=True)
class Options:
    """What verification costs."""

    d_model: int = 2048
    """Of the model."""
    numbers: int = 620
    """Last number: 1,500 tokens with the words."""
    peer: int = 100
    """Prompts that TransformerLens is timed on."""


def main(options: Options) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder), options)
        model = open_model(folder)
        tokens = ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, options.numbers)))
        activations = harvest(model, tokens)
        directions = class_mean_directions(activations, 10)[0]
        add = Add(directions, activations)
        rows, ours = timed(lambda: every_edit(model, add, activations, tokens))
        bridged = open_model(folder, route="bridged")
        assert isinstance(bridged, BridgedModel)
        rng = np.random.default_rng(0)
        few = rng.choice(len(rows), options.peer, replace=False)
        sample = [(rows[i], float(rng.choice(SCALES))) for i in few]
        clean = [head_reads(bridged, prompt(row, tokens)) for row, _ in sample]
        theirs, seconds = timed(
            lambda: [
                one_by_one(bridged, add, tokens, row, scale, before)
                for (row, scale), before in zip(sample, clean, strict=True)
            ]
        )
    mine = [row.edited.logits(row.edits, scale)[row.at] for row, scale in sample]
    wrong = max(
        float((a - b).abs().max() / b.abs().max()) for a, b in zip(mine, theirs, strict=True)
    )
    n = len(rows) * len(SCALES)
    whole = [s * n / options.peer for s in seconds]
    title = f"{len(tokens):,} tokens, {len(rows):,} edits, {len(SCALES)} scales, d_model"
    grid = Table(title=f"{title} {options.d_model:,}")
    for heading in ("", "wall s", "CPU s"):
        grid.add_column(heading, justify="left" if not heading else "right")
    grid.add_row("every edit (eval.patching.edits)", *(f"{s:.1f}" for s in ours))
    grid.add_row("TransformerLens, prompt by prompt", *(f"{s:,.0f}" for s in whole))
    grid.add_row("ratio", *(f"{b / a:,.0f}x" for a, b in zip(ours, whole, strict=True)))
    Console().print(grid)
    print(
        f"TransformerLens: {options.peer} prompts timed, the rest extrapolated. Their logits "
        f"differ from ours by at most {wrong:.0e} of the largest."
    )


@dataclass(frozen=True)
class Row:
    """One edit."""

    edited: EditedReadout
    edits: Edits
    at: int


def every_edit(
    model: LanguageModel, add: Add, activations: Activations, tokens: OrdinalTokens
) -> list[Row]:
    """Reads the head's weights, and judges every edit at every scale."""
    rows = []
    for readout in readouts(model, tokens, LAYER, HEAD):
        edited = EditedReadout.of(add, activations, readout)
        edits = possible_edits(readout, add.directions.modulus)
        edited.succeeds(edits, SCALES)
        rows += [Row(edited, edits, at) for at in range(len(edits.source))]
    return rows


def one_by_one(
    model: BridgedModel,
    add: Add,
    tokens: OrdinalTokens,
    row: Row,
    scale: float,
    before: torch.Tensor,
) -> torch.Tensor:
    """The head's logits after one edit, of one prompt that is the token.

    The residual stream holds the embedding beside M(t), so the edit's effect is the difference to
    the clean run `before`, which is not timed; M(t)'s own logits are added to it, and the norms'
    scales are taken out.
    """
    readout: Readout = row.edited.readout
    source, target = readout.rows[row.edits.source[row.at]], readout.rows[row.edits.target[row.at]]
    delta = scale * (add.given(target[None]) - add.given(source[None]))[0]

    def patch(value: torch.Tensor, hook: Any) -> torch.Tensor:
        return value + delta

    with model.bridge.hooks(fwd_hooks=[(MLP_OUT, patch)]):
        after = head_reads(model, prompt(row, tokens))
    written = (after - before) @ model.attention(LAYER).W_O[HEAD]
    change = unembedding(model, readout.circuit.candidates) @ written
    return row.edited.base[row.edits.source[row.at]] + change


def prompt(row: Row, tokens: OrdinalTokens) -> torch.Tensor:
    """The token that is edited, alone."""
    source = row.edited.readout.rows[row.edits.source[row.at]]
    return torch.tensor([[int(tokens.table["token_id"].iloc[int(source)])]])


@torch.no_grad()
def head_reads(model: BridgedModel, ids: torch.Tensor) -> torch.Tensor:
    """The head's z, with the norm's scale taken out."""
    _, cache = model.bridge.run_with_cache(ids, names_filter=[Z, SCALE])
    return (cache[Z] * cache[SCALE][..., None])[0, 0, HEAD]


def save_checkpoint(folder: Path, options: Options) -> None:
    """A small GPT-NeoX with parallel residual, and a token for every number and word."""
    words = vocabulary(options.numbers)
    config = AutoConfig.for_model(
        "gpt_neox",
        vocab_size=len(words.words),
        hidden_size=options.d_model,
        num_hidden_layers=LAYER + 1,
        num_attention_heads=16,
        intermediate_size=4 * options.d_model,
        max_position_embeddings=64,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    words.save(folder, 64)


if __name__ == "__main__":
    main(tyro.cli(Options))
