"""The direct effect of mean ablation on the next token's loss, head by head (section 4).

At each position a head's output `z W_O` is replaced by its mean over other contexts, and nothing
but its own term in the last residual stream changes: the last norm keeps its scale, later layers
do not see it. All logits then change by a linear map of one vector, `d`, and the loss by
`log sum_v p_v exp(d_v) - d_next`, exactly.

The head whose ablation raises the loss most *wins* the position; the one whose ablation lowers it
most *loses* it. To know the winner, not every head's sum over the vocabulary is needed. The change
is convex in d, so its first-order part, which costs one gradient for all heads, is never above it:
where some head's first-order part is above the exact change of the head in question, that head
has not won; and a head whose first-order part is above it cannot have been lower.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm import tqdm

from lm.circuit import unembedding
from lm.errors import OrdinalError

if TYPE_CHECKING:
    from lm.bridged import BridgedModel

Head = tuple[int, int]
"""Layer and head."""
Means = Float[Tensor, "layers heads d_head"]
ATTENDED = 3
"""Attended positions that are kept."""
POSITIONS_AT_ONCE = 1024
"""Their logits are held three times: 600 MB for 50,000 tokens."""
LOGITS_AT_ONCE = 2**25
TOLERANCE = 1e-3
"""Relative, for logits that must agree up to float32's rounding."""
SCALE = "ln_final.hook_scale"


class HeadEffects(NamedTuple):
    """What one head does at each prediction; prediction p is that of token p + 1."""

    change: Float[Tensor, "contexts predictions"]
    """Of the next token's loss when the head is ablated, in nats."""
    wins: Bool[Tensor, "contexts predictions"]
    """Its ablation raises the loss, and more than any other head's."""
    loses: Bool[Tensor, "contexts predictions"]
    """Its ablation lowers the loss, and more than any other head's."""
    attended: Int[Tensor, "contexts predictions attended"]
    """The positions that it attends to most, most first."""
    attention: Float[Tensor, "contexts predictions attended"]


class Effects(NamedTuple):
    """What some heads do."""

    loss: Float[Tensor, "contexts predictions"]
    """Of the whole model, in nats."""
    heads: dict[Head, HeadEffects]
    means: Means
    """Of every head's z, over all contexts."""


def cross_fitted_effects(
    model: "BridgedModel",
    ids: Int[Tensor, "contexts length"],
    heads: Sequence[Head],
    *,
    seed: int = 0,
) -> Effects:
    """Effects on each half of the contexts, with the heads' means over the other half.

    Args:
        model: with its bridge.
        ids: two contexts or more.
        heads: whose effects are reported; they are compared with every head of the model.
        seed: of the halves.

    Raises:
        OrdinalError: the bridge does not offer what is needed, or the model's logits are more than
            its last norm and its unembedding.
    """
    order = torch.tensor(np.random.default_rng(seed).permutation(len(ids)))
    halves = order.tensor_split(2)
    means = [mean_outputs(model, ids[half]) for half in halves]
    parts = [
        ablation_effects(model, ids[half], mean, heads)
        for half, mean in zip(halves, reversed(means), strict=True)
    ]
    back = order.argsort()
    whole = _joined(parts)
    return Effects(
        whole.loss[back],
        {head: HeadEffects(*(field[back] for field in own)) for head, own in whole.heads.items()},
        whole.means,
    )


@torch.no_grad()
def mean_outputs(model: "BridgedModel", ids: Int[Tensor, "contexts length"]) -> Means:
    """Every head's mean z, over all positions; its mean output is that times W_O."""
    names = _names(model, "attn.hook_z")
    info, total = model.info, 0.0
    for batch in tqdm(_batches(ids), "mean outputs", leave=False, delay=2, disable=None):
        _, cache = model.bridge.run_with_cache(batch, names_filter=names)
        z = torch.stack([cache[name].flatten(0, 1).double().sum(0) for name in names])
        total = total + z.view(info.n_layers, info.n_heads, -1)
    assert isinstance(total, Tensor)
    return (total / ids.numel()).float()


@torch.no_grad()
def ablation_effects(
    model: "BridgedModel",
    ids: Int[Tensor, "contexts length"],
    means: Means,
    heads: Sequence[Head],
) -> Effects:
    """Effects of replacing each head's output by its mean.

    Args:
        model: with its bridge.
        ids: the contexts.
        means: of every head's z, from `mean_outputs`.
        heads: whose effects are reported; they are compared with every head of the model.

    Raises:
        OrdinalError: see `cross_fitted_effects`.
    """
    info = model.info
    outputs = _names(model, "attn.hook_z")
    patterns = _names(model, "attn.hook_pattern")
    stream = _names(model, "hook_resid_post")[-1]
    readout = unembedding(model, torch.arange(info.d_vocab))
    written = [model.attention(layer).W_O for layer in range(info.n_layers)]
    wanted = [*outputs, *{patterns[layer] for layer, _ in heads}, stream, SCALE]
    flat = [layer * info.n_heads + head for layer, head in heads]
    kernels = {
        at: written[layer][head] @ readout.T for at, (layer, head) in zip(flat, heads, strict=True)
    }
    parts: list[Effects] = []
    for batch in tqdm(_batches(ids), "natural text", leave=False, delay=2, disable=None):
        logits, cache = model.bridge.run_with_cache(batch, names_filter=wanted)
        if not parts:
            _check_readout(model, cache[stream][0] / cache[SCALE][0] @ readout.T, logits[0])
        z = torch.stack([cache[name][:, :-1].flatten(0, 1).float() for name in outputs])
        ablation = _Ablation(
            deviations=z.view(info.n_layers, -1, info.n_heads, info.d_head) - means[:, None],
            written=written,
            kernels=kernels,
            readout=readout,
            scale=cache[SCALE][:, :-1].flatten(0, 1).float(),
            log_p=logits[:, :-1].flatten(0, 1).float().log_softmax(-1),
            target=batch[:, 1:].flatten(),
        )
        rows = len(batch), batch.shape[1] - 1
        own = {}
        for at, (change, wins, loses) in zip(heads, _compared(ablation, flat), strict=True):
            attended = _most_attended(cache[patterns[at[0]]][:, at[1], :-1])
            own[at] = HeadEffects(change.view(rows), wins.view(rows), loses.view(rows), *attended)
        loss = -ablation.log_p.gather(1, ablation.target[:, None]).view(rows)
        parts.append(Effects(loss, own, means))
    return _joined(parts)


class _Ablation(NamedTuple):
    """One batch, ready for any head's ablation."""

    deviations: Float[Tensor, "layers rows heads d_head"]
    """Of z from its mean."""
    written: list[Float[Tensor, "heads d_head d_model"]]
    kernels: dict[int, Float[Tensor, "d_head vocabulary"]]
    """From z to logits, of the heads that are asked for at every row."""
    readout: Float[Tensor, "vocabulary d_model"]
    scale: Float[Tensor, "rows 1"]
    log_p: Float[Tensor, "rows vocabulary"]
    target: Int[Tensor, " rows"]

    def first_order(self) -> Float[Tensor, "rows all_heads"]:
        """Every head's change of the loss, to first order."""
        read = self.log_p.exp() @ self.readout - self.readout[self.target]
        gradient = read / self.scale
        parts = [
            -einsum(deviation, written, gradient, "r h z, h z d, r d -> r h")
            for deviation, written in zip(self.deviations, self.written, strict=True)
        ]
        return torch.cat(parts, 1)

    def exact(
        self, asked: Bool[Tensor, "rows all_heads"], known: Float[Tensor, "rows all_heads"]
    ) -> None:
        """Fill in the changes that are asked for and not known yet."""
        missing = asked & known.isnan()
        step = max(1, LOGITS_AT_ONCE // len(self.readout))
        for at, kernel in self.kernels.items():
            for rows in missing[:, at].nonzero().flatten().split(step):
                known[rows, at] = self._change(rows, self._less(rows, at) @ kernel)
            missing[:, at] = False
        # Few rows of many heads: a product for each head would read the unembedding as often.
        rows, heads = missing.nonzero().T
        less = torch.empty(len(rows), self.readout.shape[1])
        for at in heads.unique().tolist():
            layer, head = divmod(at, self.deviations.shape[2])
            less[heads == at] = self._less(rows[heads == at], at) @ self.written[layer][head]
        for part in torch.arange(len(rows)).split(step):
            change = self._change(rows[part], less[part] @ self.readout.T)
            known[rows[part], heads[part]] = change

    def _less(self, rows: Int[Tensor, " some"], at: int) -> Float[Tensor, "some d_head"]:
        """What ablation takes from a head's z, under the norm's scale."""
        layer, head = divmod(at, self.deviations.shape[2])
        return -self.deviations[layer, rows, head] / self.scale[rows]

    def _change(
        self, rows: Int[Tensor, " some"], logits: Float[Tensor, "some vocabulary"]
    ) -> Float[Tensor, " some"]:
        """Of the loss, when the logits change by this."""
        own = logits.gather(1, self.target[rows, None])[:, 0]
        return logits.add_(self.log_p[rows]).logsumexp(-1) - own


def _compared(ablation: _Ablation, heads: list[int]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """For each head: the exact change, and where it wins and loses against all others."""
    first = ablation.first_order()
    known = torch.full_like(first, torch.nan)
    asked = torch.zeros_like(first, dtype=torch.bool)
    asked[:, heads] = True
    ablation.exact(asked, known)
    found = []
    for at in heads:
        own = known[:, [at]].clone()
        others = torch.arange(first.shape[1]) != at
        may_win = (own > 0) & ~(others & (first > own)).any(1, keepdim=True)
        ablation.exact(may_win & others, known)
        wins = may_win & ~(others & (known >= own)).any(1, keepdim=True)

        rivals = (own < 0) & others & (first <= own)
        lowest = first.where(rivals, torch.inf).argmin(1, keepdim=True)
        ablation.exact(rivals & torch.zeros_like(rivals).scatter(1, lowest, True), known)
        beaten = (rivals & (known <= own)).any(1, keepdim=True)
        ablation.exact(rivals & ~beaten, known)
        loses = (own < 0) & ~(rivals & (known <= own)).any(1, keepdim=True)
        found.append((own, wins, loses))
    return found


def _most_attended(
    pattern: Float[Tensor, "contexts predictions length"],
) -> tuple[Tensor, Tensor]:
    weights, positions = pattern.float().topk(min(ATTENDED, pattern.shape[-1]))
    return positions, weights


def _names(model: "BridgedModel", what: str) -> list[str]:
    """A hook's name in every layer; the bridge itself ignores names that it does not have."""
    names = [f"blocks.{layer}.{what}" for layer in range(model.info.n_layers)]
    missing = [name for name in (*names, SCALE) if name not in model.bridge.hook_dict]
    if missing:
        raise OrdinalError(f"{model.info.name}: the bridge has no hook {missing[0]}.")
    return names


def _check_readout(
    model: "BridgedModel",
    ours: Float[Tensor, "length vocabulary"],
    logits: Float[Tensor, "length vocabulary"],
) -> None:
    """Differences between positions must agree: a bias, which is the same at all, cancels."""
    theirs = logits.float()
    difference = (ours - ours[:1]) - (theirs - theirs[:1])
    if difference.abs().max() > TOLERANCE * theirs.abs().max():
        raise OrdinalError(
            f"{model.info.name} (family {model.info.family!r}): its logits are not its last norm "
            "and its unembedding alone, so a head has no direct effect on them as defined here."
        )


def _batches(ids: Int[Tensor, "contexts length"]) -> list[Int[Tensor, "batch length"]]:
    return list(ids.split(max(1, POSITIONS_AT_ONCE // ids.shape[1])))


def _joined(parts: list[Effects]) -> Effects:
    """The contexts of all parts, one after another."""
    heads = {}
    for head in parts[0].heads:
        fields = zip(*(part.heads[head] for part in parts), strict=True)
        heads[head] = HeadEffects(*map(torch.cat, map(list, fields)))
    means = torch.stack([part.means for part in parts]).mean(0)
    return Effects(torch.cat([part.loss for part in parts]), heads, means)
