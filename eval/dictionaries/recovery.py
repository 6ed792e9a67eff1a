"""What of a planted truth a catalog holds: recall, precision, and how near the directions are.

A planted direction is *recovered* if at least half of the members have a latent with its label (of
several, the one that is explained best on fitted tokens stands for it). Two may be recovered
without a latent:

- the ordinal direction, which costs an L1 penalty more than it explains, by the catalog's
  `ordinal/shared`, if that reads the index better than permutations of it do (p <= .05);
- the domain of numbers, which most tokens have, by the bias, if all other domains have latents:
  they are then measured from it, and it lies at their origin.

These two rules, and that of half of the members, were set after a first draw, in which single SAEs
recovered 0.92 of the directions by latents: read recall by latents alone beside recall.

A label is *right* if it names a planted direction and, of all planted directions, that one is
nearest to the latent's decoder direction. Token forms do not count.

Cosines are of contrasts, each direction less the mean of its family (`f_r - mean f`): what a family
shares can as well be in the bias, and an L1 penalty splits what is left of it over the features.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from features.catalog import FeatureCatalog
from lm.planted import PlantedTruth
from sae.ensemble import SAEEnsemble

COUNTED = ("residue", "digit", "order", "task")
"""Families of hypotheses whose labels count."""
MOST_COMMON = "task/numbers"
"""The direction that the bias may hold."""
LEVEL = 0.05

Vectors = Mapping[str, Float[Tensor, " d_model"]]


def recovered_directions(
    catalog: FeatureCatalog, ensemble: SAEEnsemble, truth: PlantedTruth, *, seed: int = 0
) -> pd.DataFrame:
    """Every planted direction, and what became of it.

    Args:
        catalog: of the ensemble.
        ensemble: SAEs of activations in which the truth is planted.
        truth: what was planted.
        seed: of the control.

    Returns:
        One row per direction: `direction`; `family` (`mod10`, `tens`, `ordinal`, `task`);
        `members`, the share of them with a latent of that label; `by`, which is `latent`,
        `catalog`, `bias` or empty; `recovered`; `cosine` with the planted direction and
        `cosine_contrast`, means over members, NaN where it is not recovered; `cosine_random`, the
        control: the largest such contrast among as many random directions as there are latents.
    """
    planted = counted_directions(truth)
    found = [_by_latent(catalog.features, ensemble, m) for m in range(len(ensemble))]
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(ensemble.members[0].W_dec.shape, generator=generator)
    rows = []
    for name, direction in planted.items():
        carriers = [member for member in found if name in member]
        share = len(carriers) / len(found)
        made, by = carriers if share >= 0.5 else [], "latent" if share >= 0.5 else ""
        if not by and name == "ordinal" and (vector := _shared_order(catalog)) is not None:
            made, by = [{name: vector}], "catalog"
        elif not by and name == MOST_COMMON:
            words = truth.tasks.keys() - {"numbers"}
            whole = [m for m in found if all(f"task/{word}" in m for word in words)]
            if len(whole) >= 0.5 * len(found):
                made, by = [{**m, name: torch.zeros_like(direction)} for m in whole], "bias"
        own = _contrast(planted, name, planted)
        drawn = normalize(random - _family_mean(planted, name, planted), dim=1)
        rows.append(
            {
                "direction": name,
                "family": name.split("/")[0],
                "members": share,
                "by": by,
                "recovered": bool(by),
                "cosine": _mean([float(one[name] @ direction) for one in made]),
                "cosine_contrast": _mean(
                    [
                        float(_contrast(one, name, planted) @ _contrast(planted, name, one))
                        for one in made
                    ]
                ),
                "cosine_random": float((drawn @ own).max()),
            }
        )
    return pd.DataFrame(rows)


def claimed_labels(
    features: pd.DataFrame, ensemble: SAEEnsemble, truth: PlantedTruth
) -> pd.DataFrame:
    """Every label that claims something about residue, digit, order or task, and whether it holds.

    Args:
        features: `FeatureCatalog.features`.
        ensemble: the SAEs.
        truth: what was planted.

    Returns:
        One row per labelled latent: `member`, `index`, `label`; `nearest`, the planted direction
        nearest to its decoder direction; `right`.
    """
    planted = counted_directions(truth)
    vectors = torch.stack(list(planted.values()))
    claimed = features[features["family"].isin(COUNTED) & (features["label"] != "neither")]
    out = claimed[["member", "index", "label"]].reset_index(drop=True)
    decoder = [
        sign * normalize(ensemble.members[member].W_dec[index], dim=0)
        for member, index, sign in claimed[["member", "index", "sign"]].itertuples(index=False)
    ]
    nearest = (torch.stack(decoder) @ vectors.T).argmax(1).tolist() if decoder else []
    out["nearest"] = [list(planted)[which] for which in nearest]
    out["right"] = out["label"].map(planted_name) == out["nearest"]
    return out


def planted_name(label: str) -> str:
    """The planted direction that a label would name.

    The planted ordinal direction grows with the index in every task; a latent that follows it in
    one task is right about that task.
    """
    return "ordinal" if label.startswith("ordinal/") else label


def counted_directions(truth: PlantedTruth) -> dict[str, Float[Tensor, " d_model"]]:
    """The planted directions that are to be recovered: all but the token forms'."""
    return {name: v for name, v in truth.directions.items() if not name.startswith("form/")}


def _by_latent(features: pd.DataFrame, ensemble: SAEEnsemble, member: int) -> dict[str, Tensor]:
    """By planted direction, the unit direction of the latent that stands for it in one SAE."""
    mine = features[(features["member"] == member) & features["family"].isin(COUNTED)]
    best = mine.sort_values("r2").groupby(mine["label"].map(planted_name)).tail(1)
    W_dec = ensemble.members[member].W_dec
    return {
        planted_name(label): sign * normalize(W_dec[index], dim=0)
        for label, index, sign in best[["label", "index", "sign"]].itertuples(index=False)
    }


def _shared_order(catalog: FeatureCatalog) -> Float[Tensor, " d_model"] | None:
    row = catalog.order[catalog.order["name"] == "ordinal/shared"]
    if row.empty or row["p_value"].iloc[0] > LEVEL or row["r2"].iloc[0] <= 0:
        return None
    return catalog.vectors["ordinal/shared"]


def _contrast(vectors: Vectors, name: str, others: Vectors) -> Float[Tensor, " d_model"]:
    return normalize(vectors[name] - _family_mean(vectors, name, others), dim=0)


def _family_mean(vectors: Vectors, name: str, others: Vectors) -> Float[Tensor, " d_model"]:
    """The mean over the family's directions that both hold; none, where there is but one."""
    family = name.split("/")[0]
    both = [v for key, v in vectors.items() if key in others and key.split("/")[0] == family]
    return torch.stack(both).mean(0) if len(both) > 1 else torch.zeros_like(vectors[name])


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
