"""What can be chosen about a training run. Light to import: every worker process reads it."""

from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)


class TrainConfig(BaseModel):
    """How an ensemble of sparse autoencoders is fitted."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    members: PositiveInt = 10
    """SAEs in the ensemble; they differ in their seed and in the fifth of the tokens held out."""
    latents: PositiveInt = 64
    """Width of the dictionary. Keep it well below the number of tokens, or it memorises them."""
    l1: NonNegativeFloat = 0.75
    """Sparsity penalty: the weight of the latents' sum against the squared error, both per token,
    on inputs scaled to a mean squared norm of d_model about their mean."""
    steps: PositiveInt = 3000
    """Full passes over the tokens for each member."""
    learning_rate: PositiveFloat = 3e-3
    """Adam's, after warm-up."""
    batch: Literal["full"] = "full"
    """Every step sees every token: there are a few thousand at most."""
    seed: NonNegativeInt = 0
    """Member s is seeded with `seed + s`."""
    workers: PositiveInt | None = None
    """Processes that members are fitted in side by side; by default one for each CPU."""
