"""The same head in context: does it read succession off a real residual stream?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from eval.heads.successor import is_source, readings_table
from eval.patching.readout import Readout
from lm.errors import OrdinalError
from training.activations import Activations

if TYPE_CHECKING:
    from lm.bridged import BridgedModel

PREFIXES = (
    " the old farmer saw the bird on the hill and",
    " the child found the lamp on the table and the",
    " the wind moved the boat to the shore of the",
    " there were large stone walls on the road to the",
)
"""Words without order before the token; a token without a leading space follows a line break."""
BATCH = 64


def context_table(
    model: "BridgedModel",
    activations: Activations,
    readouts: Sequence[Readout],
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Read the head's layer input, at ordinal tokens inside filler text, with its OV circuit.

    The residual stream holds position, attention and everything else beside M(t): this is the
    check that the circuit's succession is not an artefact of reading M(t) alone.

    Returns:
        One row for each reading (`residual stream in context`, `M(t)` on the same tokens), with
        `score` (mean over tasks), its 95% interval, `n_tokens`, `n_prompts`; and `cosine`, of M(t)
        with MLP0's output in context (mean over prompts).

    Raises:
        OrdinalError: the bridge does not offer the residual stream of this model.
    """
    layer = readouts[0].circuit.layer
    stream, mlp_out = f"blocks.{layer}.hook_resid_pre", "blocks.0.hook_mlp_out"
    missing = {stream, mlp_out} - set(model.bridge.hook_dict)
    if missing:
        raise OrdinalError(f"{model.info.name}: the bridge has no hook {', '.join(missing)}.")
    tokens = activations.tokens
    prompts = [_prompts(model, tokens.table, prefix) for prefix in PREFIXES]
    streams, cosines = [], []
    for batch in tqdm(prompts, "in context", leave=False, delay=2, disable=None):
        residual = torch.empty_like(activations.x)
        cosine = torch.empty(len(tokens))
        for ids, rows in batch:
            with torch.no_grad():
                _, cache = model.bridge.run_with_cache(ids, names_filter=[stream, mlp_out])
            residual[rows] = cache[stream][:, -1].float()
            written = cache[mlp_out][:, -1].float()
            cosine[rows] = torch.cosine_similarity(written, activations.x[rows], dim=-1)
        streams.append(residual)
        cosines.append(cosine)
    readings = {"residual stream in context": streams, "M(t)": [activations.x]}
    success = {name: np.zeros(len(tokens)) for name in readings}
    for name, xs in readings.items():
        for readout in readouts:
            at = readout.rows[readout.sources]
            wins = [readout.succeeds(x[at], readout.sources) for x in xs]
            success[name][at.numpy()] = np.mean(wins, axis=0)
    sources = torch.tensor(is_source(tokens) & ~tokens.table["held_out_task"].to_numpy())
    return readings_table(success, tokens, seed).assign(
        n_prompts=[len(PREFIXES), 0],
        cosine=[float(torch.stack(cosines)[:, sources].mean()), 1.0],
    )


def _prompts(
    model: "BridgedModel", table: pd.DataFrame, prefix: str
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of (token ids [batch, position], rows): the prefix, then one ordinal token."""
    out = []
    spaced = table["form"].str.startswith("space").to_numpy()
    for text, rows in ((prefix, np.flatnonzero(spaced)), (prefix + "\n", np.flatnonzero(~spaced))):
        ids = model.tokenizer.encode(text, add_special_tokens=False).ids
        start = torch.tensor(ids[-(model.info.n_ctx - 1) :])
        last = torch.tensor(table["token_id"].to_numpy())
        for part in torch.tensor(rows).split(BATCH):
            out.append((torch.cat([start.expand(len(part), -1), last[part, None]], 1), part))
    return out
