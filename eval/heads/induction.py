"""Induction heads: attention from a token to the one after its previous occurrence.

The score of Olsson et al. (2022), in-context learning and induction heads: on random tokens that
are repeated once, the mean attention from each token of the second copy to the token that followed
it in the first.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from features.statistics import bootstrap_means
from lm.errors import OrdinalError

if TYPE_CHECKING:
    from lm.bridged import BridgedModel

INDUCTION = "induction"
PERIOD = 50
"""Tokens that are repeated; fewer where the context does not hold them twice."""
MOST = 0.5
"""Share of its attention from which a head is called an induction head here."""
SEQUENCES = 64
BATCH = 8


def induction_scores(
    pattern: Float[Tensor, "sequences heads query key"], period: int
) -> Float[Tensor, "sequences heads"]:
    """Mean attention of the second copy's tokens to what followed them in the first.

    Args:
        pattern: attention of `2 * period` tokens, the second half a copy of the first.
        period: after which the tokens are repeated.
    """
    return pattern.diagonal(1 - period, dim1=-2, dim2=-1)[..., 1:].mean(-1)


def induction_table(model: "BridgedModel", *, seed: int = 0) -> pd.DataFrame:
    """Every head's induction score; they are ranked on one half of the sequences.

    Args:
        model: whose bridge shows its attention.
        seed: of the tokens, drawn from the whole vocabulary without one twice in a copy.

    Returns:
        One row per head, in the order of the ranking: `layer`, `head`, `chosen_on`, the score that
        it is ranked by, and from the other half `score` with its 95% interval `score_low`,
        `score_high`; `chance`, the upper end of the same where the second half is not a copy, so
        that attention to a place is not taken for induction; `n_sequences` behind `score`.

    Raises:
        OrdinalError: the bridge does not offer the attention of this model.
    """
    info = model.info
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(info.n_layers)]
    missing = set(names) - set(model.bridge.hook_dict)
    if missing:
        raise OrdinalError(f"{info.name}: the bridge has no hook {', '.join(sorted(missing))}.")
    period = min(PERIOD, info.n_ctx // 2, info.d_vocab)
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randperm(info.d_vocab, generator=generator)[:period] for _ in range(SEQUENCES)]
    first, half = torch.stack(drawn), SEQUENCES // 2
    values = _scores(model, torch.cat([first, first], 1), names)
    unrepeated = _scores(model, torch.cat([first, first.roll(1, 0)], 1)[half:], names)
    reported = np.concatenate([values[:, half:], unrepeated])
    result = bootstrap_means(reported, np.arange(SEQUENCES - half), seed=seed)
    score, _ = np.split(result.estimate, 2)
    (low, _), (high, control) = (np.split(end, 2) for end in result.interval())
    table = pd.MultiIndex.from_product(
        [range(info.n_layers), range(info.n_heads)], names=["layer", "head"]
    ).to_frame(index=False)
    table = table.assign(
        chosen_on=values[:, :half].mean(1),
        score=score,
        score_low=low,
        score_high=high,
        chance=control,
        n_sequences=SEQUENCES - half,
    )
    return table.sort_values("chosen_on", ascending=False, ignore_index=True)


def _scores(
    model: "BridgedModel", tokens: Int[Tensor, "sequences position"], names: list[str]
) -> Float[np.ndarray, "heads sequences"]:
    """Every head's score, layer by layer, on sequences of two halves."""
    out = []
    for batch in tokens.split(BATCH):
        with torch.no_grad():
            _, cache = model.bridge.run_with_cache(batch, names_filter=names)
        layers = [induction_scores(cache[name].float(), tokens.shape[1] // 2) for name in names]
        out.append(torch.stack(layers, 1).flatten(1))
    return torch.cat(out).double().numpy().T


def induction_rows(table: pd.DataFrame, heads: Mapping[str, tuple[int, int]]) -> pd.DataFrame:
    """The scores of some heads, as rows of `head_role_table` with the readout `induction`.

    Args:
        table: of `induction_table`.
        heads: (layer, head) by role.
    """
    by_head = table.set_index(["layer", "head"])
    rows = by_head.loc[list(heads.values())].reset_index()
    names = {"score": "value", "score_low": "low", "score_high": "high"}
    rows = rows.rename(columns=names).assign(role=list(heads), readout=INDUCTION)
    rows = rows.assign(n_tokens=rows["n_sequences"], n_elements=rows["n_sequences"])
    columns = ["role", "layer", "head", "readout", "value", "low", "high", "chance"]
    return rows[[*columns, "n_tokens", "n_elements"]]
