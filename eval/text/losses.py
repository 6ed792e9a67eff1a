"""The next token's loss in text when parts of MLP0's output are removed: a non-ordinal control.

If directions carry residues and nothing else, a model without them should foretell ordinal tokens
worse, and all others as before. So a subspace is removed from MLP0's output at every position of a
text, all that follows is computed again (the path `everywhere` of `eval/context/paths.py`), and
the loss is compared with the unedited model's, where the next token is ordinal and where it is not.

Removal is to the mean of MLP0's output over the text. One vector at all positions leaves nothing of
the token there, and on average nothing is added; the mean of the numbers, to which M(t) is ablated
elsewhere, would write a number's features at every word. The price is that what numbers have in
common within the subspace goes, too. Random subspaces lose as much: they are matched in the
variance of MLP0's output over this text.

A text whose other tokens need nothing of MLP0 could not show harm to them. So all of MLP0's output
is removed, too: what the loss rises by then is what there was to lose. And so are the leading
principal components of MLP0's output at the other tokens, as many as there are residue directions:
whether so few can harm these tokens. The scorecard does not use them; they were added when its
first figures were known.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from tokenizers import Tokenizer
from torch import Tensor
from tqdm import tqdm

from eval.context.paths import MLP_OUT, Hooks, hooked
from eval.heads.words import NUMERAL
from eval.patching.lesions import MATCHED, Lesion, lesions
from eval.patching.subspaces import matched_random_subspaces, remove, variance_share
from eval.text.cases import token_texts
from features.directions import ResidueDirections
from features.statistics import bootstrap_means
from lm.ordinals import OrdinalTokens
from training.activations import Activations

if TYPE_CHECKING:
    from lm.bridged import BridgedModel

ORDINAL, OTHER = "next ordinal", "not ordinal"
ALL, OF_OTHER = "all of M", "components, not ordinal"
CONTEXTS, LENGTH = 64, 128
"""Of the text, at most: the whole model reads it some forty times."""
POSITIONS_AT_ONCE = 1024
COLUMNS = {
    "directions": "str", "removed": "str", "positions": "str", "loss_before": "float64",
    "loss_after": "float64", "change": "float64", "change_low": "float64",
    "change_high": "float64", "specificity": "float64", "specificity_low": "float64",
    "specificity_high": "float64", "rank": "int64", "variance_removed": "float64",
    "n_positions": "int64", "n_contexts": "int64", "n_subspaces": "int64",
}  # fmt: skip


def text_losses(
    model: "BridgedModel",
    ids: Int[Tensor, "contexts length"],
    sets: Sequence[ResidueDirections],
    activations: Activations,
    *,
    random_subspaces: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """The loss before and after each removal, where the next token is ordinal and where not.

    Args:
        model: with its bridge.
        ids: a text that nothing was fitted on; the first 128 tokens of 64 contexts are read.
        sets: residue directions of one source. What is removed beside them is fitted on the same
            tokens as they were (`eval/patching/lesions.py`).
        activations: M(t).
        random_subspaces: as many as this in all, or one for each set.
        seed: of the random subspaces and the bootstrap.

    Returns:
        One row for each subspace (`removed`) and kind of `positions` in the text: `loss_before` and
        `loss_after`, in nats, the mean over sets and random draws; their difference `change`,
        paired, with its 95% interval `change_low`, `change_high` (contexts drawn again); where the
        next token is ordinal also `specificity`, the share of the rise that is not there where
        nothing is ordinal (1 - rise / rise), with its interval, missing where the rise's own
        interval is not above 0; `rank`; `variance_removed`, of MLP0's output over the text;
        `n_positions`, `n_contexts`, `n_subspaces`.

    Raises:
        OrdinalError: the bridge has not all the hooks for this model.
    """
    ids = ids[:CONTEXTS, :LENGTH]
    kinds = position_kinds(model.tokenizer, activations.tokens, ids)
    seen: list[Tensor] = []
    before = next_token_losses(model, ids, [(MLP_OUT, lambda m, hook: seen.append(m))])
    m = torch.cat(seen).flatten(0, 1).float()
    mean, losses, about = m.mean(0), {}, {}
    subspaces = _subspaces(sets, activations, m - mean, random_subspaces, seed)
    plain = torch.tensor(kinds[OTHER]).flatten()
    if plain.any():
        here = m.view(*ids.shape, -1)[:, :-1].flatten(0, 1)[plain]
        rank = subspaces[0].basis.shape[1]
        subspaces.append(Lesion(OF_OTHER, _leading(here - here.mean(0), rank)))
    subspaces.append(Lesion(ALL, torch.eye(m.shape[1])))
    for removed, basis in tqdm(subspaces, "losses in text", leave=False, delay=2, disable=None):
        loss = next_token_losses(model, ids, removal(basis, mean))
        losses[removed] = losses.get(removed, 0) + loss
        share = variance_share(m - mean, basis)
        about.setdefault(removed, []).append((basis.shape[1], share))
    rows = []
    for removed, total in losses.items():
        ranks, shares = zip(*about[removed], strict=True)
        same = {"directions": sets[0].source, "removed": removed}
        same |= {"rank": int(np.median(ranks)), "variance_removed": float(np.mean(shares))}
        same |= {"n_subspaces": len(ranks)}
        found = _compared(before.numpy(), (total / len(ranks)).numpy(), kinds, seed)
        rows += [same | row for row in found]
    return _typed(rows)


def no_losses() -> pd.DataFrame:
    """The table where nothing could be removed, or nothing read."""
    return _typed([])


def position_kinds(
    tokenizer: Tokenizer, tokens: OrdinalTokens, ids: Int[Tensor, "contexts length"]
) -> dict[str, Bool[np.ndarray, "contexts predictions"]]:
    """Where the next token is ordinal, and where neither it nor the current one is.

    Ordinal tokens are those of `tokens`, of any task. Not ordinal is what is none in any spelling
    and no other number, in digits or in words: positions next to these are of neither kind.
    """
    ordinal = torch.isin(ids, torch.tensor(tokens.table["token_id"].unique()))
    words = set(tokens.table["text"].str.strip().str.lower())
    unique = ids.unique()
    (texts,) = token_texts(tokenizer, unique[None])
    numeral = [_is_numeral(text.strip().lower(), words) for text in texts]
    plain = ~(ordinal | torch.isin(ids, unique[torch.tensor(numeral)]))
    return {ORDINAL: ordinal[:, 1:].numpy(), OTHER: (plain[:, :-1] & plain[:, 1:]).numpy()}


def _is_numeral(text: str, words: set[str]) -> bool:
    digits = any(character.isnumeric() for character in text)
    return digits or text in words or NUMERAL.fullmatch(" " + text) is not None


def removal(basis: Float[Tensor, "d_model rank"], mean: Float[Tensor, " d_model"]) -> Hooks:
    """One hook: MLP0's output without a subspace, at every position, to a mean."""
    return [(MLP_OUT, lambda m, hook: remove(m, basis, mean))]


def next_token_losses(
    model: "BridgedModel", ids: Int[Tensor, "contexts length"], hooks: Hooks
) -> Float[Tensor, "contexts predictions"]:
    """The whole model's loss of each next token, in nats.

    Args:
        model: with its bridge.
        ids: the contexts.
        hooks: what is read or edited meanwhile.

    Raises:
        OrdinalError: the bridge has not all the hooks for this model.
    """
    parts = []
    with hooked(model, hooks):
        for batch in ids.split(max(1, POSITIONS_AT_ONCE // ids.shape[1])):
            logits = model.bridge(batch)[:, :-1].float()
            own = logits.gather(2, batch[:, 1:, None])[..., 0]
            parts.append(logits.logsumexp(-1) - own)
    return torch.cat(parts)


def _subspaces(
    sets: Sequence[ResidueDirections],
    activations: Activations,
    spread: Float[Tensor, "positions d_model"],
    random_subspaces: int,
    seed: int,
) -> list[Lesion]:
    """The residues of every set first, what else is removed once for each fold, random draws."""
    draws = -(-random_subspaces // len(sets))
    # The same covariance in d_model rows, for the decomposition behind each match.
    folded = torch.linalg.qr(spread.double(), mode="r").R.float()
    residues, others, random = [], {}, []
    for number, (directions, each) in enumerate(lesions(sets, activations, random_subspaces=0)):
        basis = each[0].basis
        residues.append(each[0])
        others |= {(one.removed, directions.held_out.numpy().tobytes()): one for one in each[1:]}
        share, rank = variance_share(spread, basis), basis.shape[1]
        matched = matched_random_subspaces(folded, rank, share, count=draws, seed=seed + number)
        random += [Lesion(MATCHED, control) for control in matched]
    return [*residues, *others.values(), *random]


def _leading(
    spread: Float[Tensor, "positions d_model"], rank: int
) -> Float[Tensor, "d_model rank"]:
    """The leading principal components."""
    return torch.linalg.svd(spread, full_matrices=False).Vh[:rank].T


def _compared(
    before: Float[np.ndarray, "contexts predictions"],
    after: Float[np.ndarray, "contexts predictions"],
    kinds: dict[str, Bool[np.ndarray, "contexts predictions"]],
    seed: int,
) -> list[dict[str, Any]]:
    """One row for each kind that the text has; both from the same draws of contexts."""
    context = np.repeat(np.arange(len(before)), before.shape[1])
    sums = [part * where for where in kinds.values() for part in (before, after, 1)]
    values = np.stack([part.flatten() for part in sums]).astype(float)
    result = bootstrap_means(values, context, seed=seed)
    rows, drawn = [], {}
    for at, (kind, where) in enumerate(kinds.items()):
        if not where.any():
            continue
        of_kind = slice(3 * at, 3 * at + 3)
        loss_before, loss_after = _ratios(result.estimate[None, of_kind])[0]
        drawn[kind] = np.diff(_ratios(result.draws[:, of_kind]))[:, 0]
        low, high = _interval(drawn[kind])
        row = {"positions": kind, "loss_before": loss_before, "loss_after": loss_after}
        row |= {"change": loss_after - loss_before, "change_low": low, "change_high": high}
        row |= {"n_positions": int(where.sum()), "n_contexts": int(where.any(1).sum())}
        rows.append(row)
    if len(rows) == 2 and rows[0]["change_low"] > 0:
        low, high = _interval(1 - drawn[OTHER] / drawn[ORDINAL])
        rows[0]["specificity"] = 1 - rows[1]["change"] / rows[0]["change"]
        rows[0] |= {"specificity_low": low, "specificity_high": high}
    return rows


def _ratios(sums: Float[np.ndarray, "draws 3"]) -> Float[np.ndarray, "draws 2"]:
    """Means over the positions of a kind; NaN in a draw of contexts that has none."""
    with np.errstate(invalid="ignore"):
        return sums[:, :2] / sums[:, 2:]


def _interval(draws: Float[np.ndarray, " draws"]) -> Float[np.ndarray, "2"]:
    return np.nanpercentile(draws, [2.5, 97.5])


def _typed(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
