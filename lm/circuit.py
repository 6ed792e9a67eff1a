"""The effective OV circuit and the succession it computes (Successor Heads, section 2).

For a head h of layer l: `logits = (C(M) * gain_l) W_V[h // rep] W_O[h] C(gain_f * W_U)`, where C
removes the mean over d_model under LayerNorm and does nothing under RMSNorm, and `rep` is the
number of query heads that share one key-value head. The norm's scale is one positive number a
row: it cancels in every comparison within a row, as long as the biases b_V, beta_1, b_O and beta_f
are left out, as they are here and in TransformerLens's folded W_OV.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lm.access import LanguageModel
from lm.ordinals import NO_SUCCESSOR, OrdinalTokens

HEADS_AT_ONCE = 4
"""Heads whose logits are held at once: a thousand numbers in two spellings make 4 MB a head."""


def centred(x: Float[Tensor, "... d_model"], model: LanguageModel) -> Float[Tensor, "... d_model"]:
    """C(x): what LayerNorm takes off before it scales; RMSNorm takes nothing off."""
    return x - x.mean(-1, keepdim=True) if model.info.norm == "layer" else x


def unembedding(
    model: LanguageModel, candidates: Int[Tensor, " candidates"]
) -> Float[Tensor, "candidates d_model"]:
    """C(gain_f * W_U), as rows: what the residual stream is read with."""
    return centred(model.unembed(candidates) * model.final_gain(), model)


@dataclass(frozen=True)
class HeadCircuit:
    """One head's effective OV circuit onto a set of candidate tokens: a linear map of M."""

    layer: int
    head: int
    candidates: Int[Tensor, " candidates"]
    kernel: Float[Tensor, "d_model candidates"]

    def logits(self, m: Float[Tensor, "... d_model"]) -> Float[Tensor, "... candidates"]:
        """The head's direct effect on the candidates' logits, up to one positive scale a row."""
        return m @ self.kernel


def head_circuit(
    model: LanguageModel, layer: int, head: int, candidates: Int[Tensor, " candidates"]
) -> HeadCircuit:
    """The circuit of one head. Centring is linear, so it is folded into the kernel.

    Raises:
        OrdinalError: the model has no such head.
    """
    model.info.check_head(layer, head)
    weights = model.attention(layer)
    kv_head = head // (model.info.n_heads // model.info.n_kv_heads)
    written = weights.W_O[head] @ unembedding(model, candidates).T
    kernel = weights.gain[:, None] * (weights.W_V[kv_head] @ written)
    if model.info.norm == "layer":
        kernel = kernel - kernel.mean(0, keepdim=True)
    return HeadCircuit(layer, head, candidates, kernel)


@dataclass(frozen=True)
class SuccessionGroup:
    """The tokens of one task that are compared with each other: sources, targets, candidates."""

    sources: Int[Tensor, " sources"]
    """Rows of the `OrdinalTokens`."""
    targets: Int[Tensor, " sources"]
    """Positions among the candidates: of the successors, or of what else is asked of a head."""
    candidates: Int[Tensor, " candidates"]
    """Token ids."""


def succession_groups(
    tokens: OrdinalTokens, *, all_spellings: bool = False
) -> list[SuccessionGroup]:
    """Sources and their candidates, by task and spelling.

    Args:
        tokens: sources are those with a successor.
        all_spellings: the candidates are all the task's tokens, not those of the source's spelling.
    """
    keys = ["task"] if all_spellings else ["task", "form"]
    groups = []
    for _, rows in tokens.table.groupby(keys, sort=False):
        sources = rows[rows["successor"] != NO_SUCCESSOR]
        if len(sources) == 0:
            continue
        candidates = sorted(set(rows["token_id"]))
        column = {token: position for position, token in enumerate(candidates)}
        groups.append(
            SuccessionGroup(
                torch.tensor(sources.index.to_numpy()),
                torch.tensor([column[token] for token in sources["successor"]]),
                torch.tensor(candidates),
            )
        )
    return groups


def succeeds(
    logits: Float[Tensor, "... sources candidates"], targets: Int[Tensor, " sources"]
) -> Bool[Tensor, "... sources"]:
    """Whether the target's logit is strictly greater than every other candidate's."""
    index = targets.expand(logits.shape[:-1]).unsqueeze(-1)
    target = logits.gather(-1, index).squeeze(-1)
    rivals = logits.scatter(-1, index, float("-inf")).amax(-1)
    return target > rivals


def scan_heads(
    model: LanguageModel,
    tokens: OrdinalTokens,
    m: Float[Tensor, "tokens d_model"],
    *,
    all_spellings: bool = False,
) -> Iterator[Bool[Tensor, "n_heads tokens"]]:
    """Layer by layer, which tokens each head maps to their successor; see `scan_groups`."""
    return scan_groups(model, succession_groups(tokens, all_spellings=all_spellings), m)


def scan_groups(
    model: LanguageModel, groups: Sequence[SuccessionGroup], m: Float[Tensor, "tokens d_model"]
) -> Iterator[Bool[Tensor, "n_heads tokens"]]:
    """Layer by layer, which tokens each head maps to their targets (False where there are none).

    Both sides of a layer are projected onto its heads at once, then compared head by head and task
    by task; the full token-by-token table, or W_OV itself, is never formed.
    """
    wanted = torch.unique(torch.cat([group.candidates for group in groups]))
    rows = [torch.searchsorted(wanted, group.candidates) for group in groups]
    readout = unembedding(model, wanted)
    source = centred(m, model)
    rep = model.info.n_heads // model.info.n_kv_heads
    for layer in range(model.info.n_layers):
        weights = model.attention(layer)
        read = einsum(source * weights.gain, weights.W_V, "t d, kv d h -> kv t h")
        read = read.repeat_interleave(rep, 0)
        written = einsum(readout, weights.W_O, "c d, n h d -> n c h")
        success = torch.zeros(model.info.n_heads, len(m), dtype=torch.bool)
        for group, columns in zip(groups, rows, strict=True):
            for heads in torch.arange(model.info.n_heads).split(HEADS_AT_ONCE):
                logits = read[heads][:, group.sources] @ written[heads][:, columns].mT
                success[heads[:, None], group.sources] = succeeds(logits, group.targets)
        yield success
