"""k-Adam: Adam's adaptive normalisation applied k times (Gould and Tanaka, arXiv 2411.05746).

`g_0` is the gradient; level i keeps running means of `g_{i-1}` and of its square, with Adam's
decay rates and bias correction, and gives `g_i = mean / (sqrt(square) + eps)`; parameters move by
`-rate * g_k`. k = 1 is Adam, k = 0 gradient descent. `torch.optim` would import 800 modules, a
second in each process, and has no k-Adam.
"""

from jaxtyping import Float
from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8


def corrections(step: int) -> tuple[float, float]:
    """What undoes the running means' start at zero, at a step counted from 1."""
    return 1 / (1 - BETAS[0] ** step), 1 / (1 - BETAS[1] ** step)


def descend(
    parameters: Float[Tensor, "members size"],
    gradients: Float[Tensor, "members size"],
    moments: Float[Tensor, "levels 2 members size"],
    rate: float,
    step: int,
) -> None:
    """One step, in place; there are as many levels as normalisations."""
    for_mean, for_square = corrections(step)
    for mean, square in moments:
        mean.lerp_(gradients, 1 - BETAS[0])
        square.mul_(BETAS[1]).addcmul_(gradients, gradients, value=1 - BETAS[1])
        gradients = mean * for_mean / ((square * for_square).sqrt_() + EPSILON)
    parameters.add_(gradients, alpha=-rate)
