"""What can be chosen about a training run. Light to import: every worker process reads it."""

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

Share = Annotated[float, Field(ge=0, le=1)]


class TrainConfig(BaseModel):
    """How an ensemble of sparse autoencoders is fitted."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    members: PositiveInt = 10
    """SAEs in the ensemble; they differ in their seed and in the fifth of the tokens held out."""
    architecture: Literal["relu", "relu-weighted", "topk", "batchtopk", "jumprelu", "gated"] = (
        "relu"
    )
    """Each is one file in sae/, with the paper it follows; relu is that of Successor Heads."""
    latents: PositiveInt = 64
    """Width of the dictionary. Keep it well below the number of tokens, or it memorises them."""
    l1: NonNegativeFloat = 0.75
    """Sparsity penalty of relu, relu-weighted and gated: the weight of the latents' sum against the
    squared error, both per token, on inputs scaled to a mean squared norm of d_model about their
    centre."""
    k: PositiveInt = 8
    """Latents active on a token: topk, batchtopk (on average)."""
    l0: NonNegativeFloat = 1.0
    """Sparsity penalty of jumprelu: the weight of the number of active latents."""
    steps: PositiveInt = 3000
    """Optimiser steps for each member."""
    batch: PositiveInt | Literal["full"] = "full"
    """Tokens a step sees. Full: all of them, there are a few thousand at most."""
    learning_rate: PositiveFloat = 3e-3
    """The optimiser's, after warm-up."""
    warm_up: Share = 0.05
    """Share of the steps in which the learning rate rises to its value."""
    decay: Share = 0.2
    """Share of the steps in which it falls to zero at the end."""
    sparsity_warm_up: Share = 0.8
    """Share of the steps in which the sparsity penalty comes to its value from `sparsity_start`."""
    sparsity_start: NonNegativeFloat = 0.0
    """Multiple of the penalty that training starts with. From 0 it rises: latents that start out
    dense find their features before they have to be sparse. From above 1 it falls, which is
    continuation (Hale, Yin and Zhang 2008): a weak penalty alone takes long to make codes sparse,
    and sparse ones are cheap."""
    encoder_norm: PositiveFloat = 1.0
    """Norm that encoder rows start with, along their decoder rows of norm one. SAELens and
    dictionary_learning start at 0.1, where the optimiser turns them ten times as fast."""
    start_density: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the tokens that each latent is active on at the start, set through its bias. By
    default biases start at zero: about half. A sparse start makes the first steps cheap."""
    frozen: Literal["decoder", "soft decoder", "encoder"] | None = None
    """What keeps its random start while the rest is trained, for a baseline (Korznikov et al. 2026,
    arXiv 2602.14111). Softly: decoder directions keep a cosine of at least 0.8 with it."""
    normalisations: NonNegativeInt = 1
    """Times that Adam's adaptive normalisation is applied: 1 is Adam, k is k-Adam (Gould and
    Tanaka, arXiv 2411.05746), 0 is gradient descent."""
    resamples: NonNegativeInt = 0
    """Times that dead latents are started again at badly explained tokens (Bricken et al. 2023),
    spread evenly over the first half of the steps."""
    patience: PositiveInt | None = None
    """Reports (25 a run) without a better held-out error after which a member stops and its best
    state is kept. Another fifth of the tokens is held out for this."""
    subspace: bool = True
    """Train in the principal subspace of the fitted tokens when they are fewer than d_model."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the dense products on a CPU: the encoder's, and while codes are dense the others too.
    bfloat16 is for processors with AVX512_BF16 or AMX. Parameters and metrics are float32 either
    way."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """cpu: members side by side in processes; cuda: all members in one stack. Auto: cuda if there
    is one."""
    seed: NonNegativeInt = 0
    """Member s is seeded with `seed + s`."""
    workers: PositiveInt | None = None
    """Processes that members are fitted in side by side; by default one for each CPU."""
