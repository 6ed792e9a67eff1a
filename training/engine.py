"""What an engine is: it holds a stack of SAEs and takes optimiser steps on them."""

from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Bool, Float, Int
from torch import Tensor

from training.parameters import Parameters


@dataclass(frozen=True)
class Seen:
    """What a pass over some rows showed, for each member."""

    square: Float[Tensor, " members"]
    """Mean squared error of reconstruction."""
    penalty: Float[Tensor, " members"]
    """The rest of the objective, at its full coefficient."""
    l0: Float[Tensor, " members"]
    fired: Bool[Tensor, "members d_sae"]
    """Latents active on any row."""

    def cpu(self) -> "Seen":
        return Seen(**{name: value.cpu() for name, value in vars(self).items()})


class Engine(Protocol):
    """A stack of SAEs in training."""

    parameters: Parameters
    moments: Float[Tensor, "levels 2 members size"]

    def step(
        self, batch: Int[Tensor, "members rows"] | None, share: float, rate: float, step: int
    ) -> Seen:
        """One optimiser step; what it saw is from before the step.

        Args:
            batch: rows of `Inputs.fit`, by member; all of them if None.
            share: multiple of the sparsity penalty.
            rate: the learning rate.
            step: counted from 1.
        """
        ...

    def look(self, rows: str) -> Seen:
        """A pass over `fit`, `test` or `stop` without a step."""
        ...

    def errors(self) -> list[Float[Tensor, "rows d_in"]]:
        """For each member, what its reconstruction of each fitted row is off by."""
        ...

    def pre_activations(self, member: int) -> Float[Tensor, "rows d_sae"]:
        """Of one member's fitted rows."""
        ...
