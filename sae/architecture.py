"""What an architecture says about its training: one objective and its gradient, written once.

The gradients are written by hand on *codes*: one value for each pair of a row (a token) and a
latent. `Products` does the linear algebra around them, either densely for a stack of SAEs at once
(codes are `[members, rows, latents]`) or for one SAE on its selected pairs alone (codes are
`[pairs]`). An architecture's file never knows which.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

from torch import Tensor

from sae.autoencoder import SAE

EMPTY = -1e30
"""Pre-activation of a row that only fills up a stack: never active."""


class Products(Protocol):
    """The linear algebra of one step."""

    @property
    def weight(self) -> Tensor | float:
        """Each row's share in the mean over rows; broadcasts against codes."""
        ...

    @property
    def selected(self) -> Tensor | bool:
        """The pairs above the architecture's floors; broadcasts against codes."""
        ...

    def latent(self, values: Tensor) -> Tensor:
        """A parameter of each latent, `[..., latents]`, as codes."""
        ...

    def per_latent(self, codes: Tensor) -> Tensor:
        """Codes summed over rows: `[..., latents]`."""
        ...

    def mean(self, codes: Tensor) -> Tensor:
        """Mean over rows of the sum over latents: `[...]`."""
        ...

    def error(self, codes: Tensor) -> Tensor:
        """What the codes' reconstruction is off by: `[..., rows, d_in]`."""
        ...

    def square(self, error: Tensor) -> Tensor:
        """Mean over rows of the squared norm: `[...]`."""
        ...

    def back(self, error: Tensor) -> Tensor:
        """Gradient of `square(error)` with respect to the codes that `error` was made of."""
        ...

    def norms(self) -> Tensor:
        """Norm of each decoder row: `[..., latents]`."""
        ...


class Gradients(NamedTuple):
    """The objective of one step and its gradient, up to the products that all share."""

    square: Tensor
    """Mean squared error of reconstruction: `[...]`."""
    penalty: Tensor
    """The rest of the objective, at its full coefficient: `[...]`."""
    codes: Tensor
    """The activity that is decoded."""
    error: Tensor
    """Its error, `[..., rows, d_in]`; `square` is its mean squared norm."""
    d_pre: Tensor
    """Gradient with respect to the pre-activations, as codes."""
    latents: dict[str, Tensor]
    """Gradient with respect to each of `Architecture.latents`: `[..., latents]`."""
    shrink: Tensor | None = None
    """Multiple of its own row that is in each decoder row's gradient: `[..., latents]`."""


@dataclass(frozen=True)
class Architecture(ABC):
    """How one kind of SAE is initialised and trained.

    Inputs are centred and scaled to a mean squared norm of d_in; encoder rows start along the
    decoder rows, which start at random with norm one.
    """

    name: ClassVar[str]
    latents: ClassVar[Mapping[str, float]]
    """Parameters of each latent and their initial value; the first is added to `x @ W_enc`."""
    unit_decoder: ClassVar[bool] = True
    """Whether decoder rows are kept at norm one."""

    def floors(self, pre: Tensor, latents: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Pre-activations at or below a floor play no part in the objective or its gradient.

        Args:
            pre: pre-activations of all pairs, `[..., rows, latents]`.

        Returns:
            A floor for each latent, `[..., latents]`, and perhaps one for each row, `[..., rows]`.
        """
        return pre.new_zeros(pre.shape[-1]), None

    @abstractmethod
    def gradients(
        self, pre: Tensor, latents: Mapping[str, Tensor], products: Products, share: float
    ) -> Gradients:
        """The objective and its gradient.

        Args:
            pre: pre-activations, as codes.
            share: multiple of the penalty, which is 1 once it has warmed up.
        """

    @abstractmethod
    def finished(
        self,
        weights: Mapping[str, Tensor],
        latents: Mapping[str, Tensor],
        scale: float,
        pre: Tensor,
    ) -> SAE:
        """The SAE for inference.

        Args:
            weights: `W_enc [d_in, d_sae]`, `W_dec` and `b_dec`, for inputs as the model gives them.
            latents: for inputs times `scale`: `[d_sae]` each.
            pre: pre-activations of the scaled fitted rows, `[rows, d_sae]`.
        """
