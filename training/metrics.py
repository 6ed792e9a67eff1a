"""What is measured of a member while it is fitted."""

from typing import NamedTuple


class MemberMetrics(NamedTuple):
    """How one member does at one step."""

    member: int
    step: int
    loss: float
    """The objective at the full coefficient, on the fitted tokens."""
    fvu: float
    """Fraction of the variance of the fitted tokens that is left unexplained."""
    fvu_held_out: float | None
    """The same on the held-out tokens, about the mean of the fitted ones."""
    l0: float
    """Mean number of latents active on a fitted token."""
    dead: int
    """Latents active on no fitted token."""
