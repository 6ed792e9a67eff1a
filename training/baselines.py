"""What an SAE has to beat: random dictionaries, and classical ones, as sparse as it is.

After Korznikov et al., *Sanity Checks for Sparse Autoencoders: Do SAEs Beat Random Baselines?*
(2026, arXiv 2602.14111). Where part of a dictionary is frozen, all else is as in the SAE, and the
penalty is searched for that makes it as sparse. (To keep the k largest latents instead is faster,
and reconstructs better, but a softly frozen decoder edits far worse so: .63 of the numbers of the
embedded model against .98.) PCA, ICA, k-means and random directions have no penalty: they keep the
k largest latents of a token, and so does `SAE, top-k`, which shows what is lost by that alone.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lm.ordinals import FOLDS
from sae.ensemble import SAEEnsemble
from sae.pretrained import fit_of
from sae.topk import TopKSAE
from training.activations import Activations
from training.config import TrainConfig
from training.decompositions import (
    Dictionary,
    cluster_directions,
    independent_components,
    principal_components,
    random_directions,
)
from training.fit import train
from training.metrics import MemberMetrics

TOP_K_SAE = "SAE, top-k"
FROZEN: dict[str, Literal["decoder", "soft decoder", "encoder"]] = {
    "soft-frozen decoder": "soft decoder",
    "frozen decoder": "decoder",
    "random encoder": "encoder",
}
"""What each keeps of its random start."""
UNTRAINED: dict[str, Callable[[Tensor, int, int], Dictionary]] = {
    "random directions": random_directions,
    "PCA": principal_components,
    "ICA": independent_components,
    "k-means": cluster_directions,
}
KINDS = (*FROZEN, TOP_K_SAE, *UNTRAINED)
CLOSE = 0.05
"""Relative error of the L0 at which the search for a penalty ends."""
MOST_TRIALS = 8
TRIED_MEMBERS = 2
"""Members that a penalty is tried on."""

Log = Callable[[list[MemberMetrics]], None]


def baseline_ensemble(
    kind: str,
    activations: Activations,
    config: TrainConfig,
    l0: float,
    *,
    log: Log | None = None,
) -> SAEEnsemble:
    """One baseline in place of an ensemble of SAEs: the same members, folds, seeds and width.

    Args:
        kind: one of `KINDS`.
        activations: what the SAEs were fitted to. A member sees no token of its held-out fold.
        config: the SAEs'. What is trained is trained with it.
        l0: latents active on a fitted token: `mean_l0` of the SAEs.
        log: called with the members' metrics while they are trained, in trials too.

    Raises:
        OrdinalError: as `train`.
    """
    k = max(1, round(l0))
    if kind in FROZEN:
        frozen = config.model_copy(update={"frozen": FROZEN[kind]})
        return _train(activations, _as_sparse(activations, frozen, l0, log), log)
    if kind == TOP_K_SAE:
        top_k = config.model_copy(update={"architecture": "topk", "k": k})
        return _train(activations, top_k, log)
    folds = [member % FOLDS for member in range(config.members)]
    members = []
    for member, fold in enumerate(folds):
        fit = activations.x[torch.from_numpy(activations.fit_rows(fold))]
        made = UNTRAINED[kind](fit - fit.mean(0), config.latents, config.seed + member)
        members.append(_top_k(made, fit, k))
    return SAEEnsemble(
        members=members,
        seeds=[config.seed + member for member in range(config.members)],
        held_out_folds=folds,
        model_name=activations.model_name,
        hook_name=activations.hook_name,
    )


def mean_l0(ensemble: SAEEnsemble, activations: Activations) -> float:
    """Latents active on a token that a member was fitted to, averaged over members."""
    l0 = [
        fit_of(sae, activations.x[torch.from_numpy(activations.fit_rows(fold))]).l0
        for sae, fold in zip(ensemble.members, ensemble.held_out_folds, strict=True)
    ]
    return sum(l0) / len(l0)


def _train(activations: Activations, config: TrainConfig, log: Log | None) -> SAEEnsemble:
    return train(
        activations,
        config,
        progress=False,
        log=log,
        say=lambda line: None,  # said when the SAEs were fitted
    )


def _as_sparse(
    activations: Activations, config: TrainConfig, l0: float, log: Log | None
) -> TrainConfig:
    """The config with the penalty that gives some members an L0, by the secant method on logs."""
    if config.architecture in ("topk", "batchtopk"):
        return config
    setting = "l0" if config.architecture == "jumprelu" else "l1"
    some = config.model_copy(update={"members": min(TRIED_MEMBERS, config.members)})
    penalty, trials = math.log(getattr(config, setting) or 1.0), []
    for _ in range(MOST_TRIALS):
        tried = some.model_copy(update={setting: math.exp(penalty)})
        found = mean_l0(_train(activations, tried, log), activations)
        off = math.log(max(found, 0.01) / l0)
        trials.append((abs(off), penalty, off))
        if abs(off) <= math.log1p(CLOSE):
            break
        slope = -1.0
        if len(trials) > 1:
            (_, x0, y0), (_, x1, y1) = trials[-2:]
            # Noise may turn the slope round; more penalty never makes it denser by much.
            slope = min((y1 - y0) / (x1 - x0), -0.25)
        penalty -= off / slope
    best = math.exp(min(trials)[1])
    return config.model_copy(update={setting: best})


def _top_k(dictionary: Dictionary, fit: Float[Tensor, "tokens d_model"], k: int) -> TopKSAE:
    """The SAE whose codes, of the k largest latents, are the encoder's times one number.

    Directions that are not orthogonal count twice what they share; the number with the least
    squared error is what makes up for that. It changes no latent's share in a token.
    """
    sae = TopKSAE(
        W_enc=dictionary.encoder.T.contiguous(),
        W_dec=dictionary.decoder,
        b_enc=torch.zeros(len(dictionary.decoder)),
        b_dec=fit.mean(0),
        k=min(k, len(dictionary.decoder)),
    )
    made = sae.decode(sae.encode(fit)) - sae.b_dec
    gain = ((fit - sae.b_dec) * made).sum() / made.square().sum()
    return replace(sae, W_enc=gain * sae.W_enc)
