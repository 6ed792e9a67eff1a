"""Label every latent: the simplest hypothesis that holds, and what it is worth as a feature."""

import json

import numpy as np
import pandas as pd
import torch

from features.activity import Activity, latent_activity
from features.catalog import FeatureCatalog
from features.directions import (
    ResidueDirections,
    class_mean_directions,
    probe_directions,
    sae_directions,
)
from features.discovery import Features, discover
from features.order import OrdinalDirection, ordinal_directions
from features.residue_table import residue_table
from features.residues import fit_residues, testable
from features.stability import best_cosines
from sae.ensemble import SAEEnsemble
from training.activations import Activations

CONTROL_MODULI = (7, 9)
"""Moduli that decimal numerals give no reason to expect."""
PERMUTATIONS = 1000


def label_features(
    ensemble: SAEEnsemble,
    activations: Activations,
    *,
    modulus: int = 10,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> FeatureCatalog:
    """Label every latent: chosen on the tokens its member was fitted on, confirmed on the rest.

    Args:
        ensemble: the SAEs.
        activations: what they were fitted on, held-out tokens included.
        modulus: of the residue directions that the catalog's vectors hold (section 3.1: 10).
        permutations: behind each p-value, at least.
        seed: of the permutations.
    """
    activity = latent_activity(ensemble, activations)
    reason = testable(activations.tokens, modulus)
    found = ordinal_directions(activations.x.numpy(), activations.tokens, seed=seed)
    order = pd.DataFrame(found, columns=list(OrdinalDirection._fields))
    vectors = {row["name"]: torch.tensor(row["vector"]).float() for _, row in order.iterrows()}
    features = label_table(ensemble, activations, activity, permutations=permutations, seed=seed)
    metadata = {**activations.metadata, "modulus": str(modulus)}
    residues = pd.DataFrame()
    if reason is None:
        asked = dict.fromkeys((modulus, *CONTROL_MODULI))
        moduli = [m for m in asked if testable(activations.tokens, m) is None]
        residues = pd.concat([residue_table(activations, activity, m) for m in moduli])
        sets = sae_directions(ensemble, activity, activations, modulus)
        chosen = sets[reference_member(residues, modulus)]
        vectors |= {f"mod{modulus}/{r}": v for r, v in enumerate(chosen.vectors)}
        metadata |= {"member": str(chosen.member), "latents": json.dumps(chosen.latents)}
        witnesses = [class_mean_directions, probe_directions]
        for name, made in zip(("class_mean", "probe"), witnesses, strict=True):
            features[f"cosine_{name}"] = _witness_cosine(
                features, ensemble, made(activations, modulus), modulus
            )
    else:
        metadata |= {"not_testable": reason}
    return FeatureCatalog(features, residues, order.drop(columns="vector"), vectors, metadata)


def reference_member(residues: pd.DataFrame, modulus: int) -> int:
    """The member with the most good residue features on its own training numbers."""
    mine = residues[residues["modulus"] == modulus].groupby("member")
    ranking = mine.agg(good=("good_train", "sum"), f1=("f1_train", "mean"))
    return int(ranking.sort_values(["good", "f1"], ascending=False).index[0])


def label_table(
    ensemble: SAEEnsemble,
    activations: Activations,
    activity: list[Activity],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> pd.DataFrame:
    """`FeatureCatalog.features`, without the witnesses' columns."""
    table = activations.tokens.table
    order = sorted(activity, key=lambda acts: ensemble.held_out_folds[acts.member])
    groups: dict[int, list[Activity]] = {}
    for acts in order:
        groups.setdefault(ensemble.held_out_folds[acts.member], []).append(acts)
    sets = [
        Features(
            np.concatenate([(acts.values * acts.active).numpy() for acts in some], axis=1),
            some[0].held_out.numpy(),
            fold,
        )
        for fold, some in groups.items()
    ]
    stability = best_cosines(ensemble).numpy()
    about = pd.concat(
        [
            pd.DataFrame(
                {
                    "member": acts.member,
                    "index": np.arange(acts.values.shape[1]),
                    "stability": stability[acts.member],
                    "density": acts.active.numpy().mean(0),
                }
            )
            for acts in order
        ],
        ignore_index=True,
    )
    found = discover(sets, table, permutations=permutations, seed=seed)
    features = about.join(found).sort_values(["member", "index"], ignore_index=True)
    front = ["member", "index", *found.columns]
    features = features[[*front, *(name for name in about if name not in front)]]
    return features.join(_as_residues(features, activations, activity))


def _as_residues(
    features: pd.DataFrame, activations: Activations, activity: list[Activity]
) -> pd.DataFrame:
    """Precision and recall of the latents whose best hypothesis is a residue; NaN elsewhere."""
    table = activations.tokens.table
    numbers = (table["task"] == "numbers").to_numpy()
    index = table["index"].to_numpy()
    names = ["precision", "recall", "precision_all_tasks"]
    out = pd.DataFrame(np.nan, features.index, names)
    residual = features[features["modulus"] > 0]
    for (member, modulus), rows in residual.groupby(["member", "modulus"]):
        active = activity[int(member)].active.numpy()  # pyright: ignore[reportArgumentType]
        latent, residue = rows["index"].to_numpy(), rows["residue"].to_numpy()
        fit = fit_residues(active[numbers][:, latent], table[numbers], int(modulus))  # pyright: ignore
        on = active[:, latent] & (index[:, None] % int(modulus) == residue)  # pyright: ignore
        here = np.arange(len(latent))
        out.loc[rows.index, names] = np.stack(
            [
                fit.precision[here, residue],
                fit.recall[here, residue],
                on.sum(0) / np.maximum(active[:, latent].sum(0), 1),
            ],
            axis=1,
        )
    return out


def _witness_cosine(
    features: pd.DataFrame,
    ensemble: SAEEnsemble,
    witnesses: list[ResidueDirections],
    modulus: int,
) -> np.ndarray:
    """Cosine of each residue latent with its residue's witness, fitted with its fold held out."""
    out = np.full(len(features), np.nan)
    of_modulus = features[features["modulus"] == modulus]
    for member, rows in of_modulus.groupby("member").groups.items():
        decoder = ensemble.members[int(member)].W_dec  # pyright: ignore[reportArgumentType]
        witness = witnesses[ensemble.held_out_folds[int(member)]].vectors  # pyright: ignore
        latent = torch.tensor(features.loc[rows, "index"].to_numpy())
        residue = torch.tensor(features.loc[rows, "residue"].to_numpy())
        cosine = torch.nn.functional.cosine_similarity(decoder[latent], witness[residue])
        out[rows] = cosine.numpy()
    return out
