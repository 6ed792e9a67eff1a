"""BatchTopK: Bussmann et al., *BatchTopK Sparse Autoencoders* (2024).

`f` keeps the k largest pre-activations a row on average over the batch; the loss is the squared
error. For inference a row must not depend on its batch: the SAE becomes a JumpReLU whose one
threshold is the value that keeps k a row over the fitted rows (their equation for theta, with the
fitted rows as the one batch).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sae.architecture import EMPTY
from sae.autoencoder import SAE
from sae.jumprelu import JumpReLUSAE
from sae.topk import TopK, just_below


@dataclass(frozen=True)
class BatchTopK(TopK):
    """k latents a row on average."""

    name = "batchtopk"

    def floors(self, pre: Tensor, latents: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        zero = pre.new_zeros(pre.shape[-1])
        return zero, _threshold(pre, self.k).unsqueeze(-1).expand(pre.shape[:-1])

    def finished(self, weights, latents, scale, pre) -> SAE:
        threshold = _threshold(pre, self.k).clamp(min=0) / scale
        return JumpReLUSAE(
            **weights,
            b_enc=latents["b_enc"] / scale,
            threshold=threshold.expand(pre.shape[-1]).clone(),
        )


def _threshold(pre: Tensor, k: int) -> Tensor:
    """Just below the smallest of the values kept; rows that only fill up a stack do not count."""
    flat = pre.flatten(-2)
    rows = (pre[..., 0] > EMPTY).sum(-1)
    place = (flat.shape[-1] - k * rows).clamp(min=0)
    if place.ndim == 0:
        return just_below(flat.kthvalue(int(place) + 1).values)
    return just_below(flat.sort(-1).values.gather(-1, place.unsqueeze(-1)).squeeze(-1))
