"""Label every latent: a residue, an ordinal direction, or neither."""

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
from features.order import MONOTONE, ordered_tasks, ordinal_directions, rank_correlations
from features.residues import fit_residues, residue_p_values, selectivity, testable
from features.stability import best_cosines
from features.statistics import benjamini_hochberg
from sae.ensemble import SAEEnsemble
from training.activations import Activations

Q_LEVEL = 0.05
"""False-discovery rate at which a held-out label is accepted."""
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
    """Label every latent: chosen on the numbers its member was fitted on, tested on the rest.

    Args:
        ensemble: the SAEs.
        activations: what they were fitted on, held-out tokens included.
        modulus: of the residues looked for (section 3.1: 10).
        permutations: behind each p-value.
        seed: of the permutations.
    """
    activity = latent_activity(ensemble, activations)
    reason = testable(activations.tokens, modulus)
    order = pd.DataFrame(ordinal_directions(activations.x.numpy(), activations.tokens, seed=seed))
    vectors = {row["name"]: torch.tensor(row["vector"]).float() for _, row in order.iterrows()}
    features = _label_table(ensemble, activations, activity, modulus, permutations, seed)
    metadata = {**activations.metadata, "modulus": str(modulus)}
    residues = pd.DataFrame()
    if reason is None:
        moduli = [m for m in (modulus, *CONTROL_MODULI) if testable(activations.tokens, m) is None]
        residues = pd.concat([_residue_table(activations, activity, m) for m in moduli])
        sets = sae_directions(ensemble, activity, activations, modulus)
        chosen = sets[reference_member(residues, modulus)]
        vectors |= {f"mod{modulus}/{r}": v for r, v in enumerate(chosen.vectors)}
        metadata |= {"member": str(chosen.member), "latents": json.dumps(chosen.latents)}
        witnesses = [class_mean_directions, probe_directions]
        for name, made in zip(("class_mean", "probe"), witnesses, strict=True):
            features[f"cosine_{name}"] = _witness_cosine(
                features, ensemble, made(activations, modulus)
            )
    else:
        metadata |= {"not_testable": reason}
    return FeatureCatalog(features, residues, order.drop(columns="vector"), vectors, metadata)


def reference_member(residues: pd.DataFrame, modulus: int) -> int:
    """The member with the most good residue features on its own training numbers."""
    mine = residues[residues["modulus"] == modulus].groupby("member")
    ranking = mine.agg(good=("good_train", "sum"), f1=("f1_train", "mean"))
    return int(ranking.sort_values(["good", "f1"], ascending=False).index[0])


def _residue_table(
    activations: Activations, activity: list[Activity], modulus: int
) -> pd.DataFrame:
    """Each member's best latent for each residue, by F1 on training numbers."""
    table = activations.tokens.table
    numbers = (table["task"] == "numbers").to_numpy()
    rows = []
    for acts in activity:
        held_out, active = acts.held_out.numpy(), acts.active.numpy()
        train, test = numbers & ~held_out, numbers & held_out
        fit = fit_residues(active[train], table[train], modulus)
        everywhere = fit_residues(active[numbers], table[numbers], modulus)
        best = fit.f1.argmax(0)
        for residue, latent in enumerate(best):
            here = active[test][:, latent]
            member = (table.loc[test, "index"] % modulus == residue).to_numpy()
            rows.append(
                {
                    "member": acts.member,
                    "modulus": modulus,
                    "residue": residue,
                    "latent": int(latent),
                    "good_train": bool(fit.good[latent, residue]),
                    "f1_train": float(fit.f1[latent, residue]),
                    "precision": float(everywhere.precision[latent, residue]),
                    "recall": float(everywhere.recall[latent, residue]),
                    "good": bool(everywhere.good[latent, residue]),
                    "held_out_hits": int((here & member).sum()),
                    "held_out_active": int(here.sum()),
                    "held_out_members": int(member.sum()),
                }
            )
    return pd.DataFrame(rows)


def _label_table(
    ensemble: SAEEnsemble,
    activations: Activations,
    activity: list[Activity],
    modulus: int,
    permutations: int,
    seed: int,
) -> pd.DataFrame:
    table = activations.tokens.table
    numbers = (table["task"] == "numbers").to_numpy()
    stability = best_cosines(ensemble).numpy()
    frames = []
    for acts in activity:
        active, values = acts.active.numpy(), acts.values.numpy()
        held_out = acts.held_out.numpy()
        train, test = numbers & ~held_out, numbers & held_out
        fit = fit_residues(active[train], table[train], modulus)
        residue = fit.f1.argmax(1)
        latents = np.arange(values.shape[1])
        everywhere = fit_residues(active[numbers], table[numbers], modulus)
        of_all = active & (table["index"].to_numpy() % modulus == residue[:, None]).T
        index = table.loc[test, "index"].to_numpy()
        rho = {
            task: rank_correlations(values[rows], table.loc[rows, "index"].to_numpy())
            for task in ordered_tasks(table)
            if (rows := (table["task"] == task).to_numpy() & ~held_out).any()
        }
        others = [r for task, r in rho.items() if task != "numbers"]
        frames.append(
            pd.DataFrame(
                {
                    "member": acts.member,
                    "index": latents,
                    "modulus": modulus,
                    "residue": residue,
                    "precision": everywhere.precision[latents, residue],
                    "recall": everywhere.recall[latents, residue],
                    "precision_all_tasks": of_all.sum(0) / np.maximum(active.sum(0), 1),
                    "selectivity": selectivity(values[test], index, modulus, residue),
                    "p_value": residue_p_values(
                        values[test], index, modulus, residue, permutations=permutations, seed=seed
                    ),
                    "rho": rho.get("numbers", np.zeros(len(latents))),
                    "rho_tasks": np.mean(others, axis=0) if others else np.zeros(len(latents)),
                    "stability": stability[acts.member],
                    "density": active.mean(0),
                    "n_tokens": int(test.sum()),
                    "good_train": fit.good[latents, residue],
                }
            )
        )
    features = pd.concat(frames, ignore_index=True)
    features["q_value"] = benjamini_hochberg(features["p_value"].to_numpy())
    features.insert(2, "label", _labels(features))
    return features.drop(columns="good_train")


def _labels(features: pd.DataFrame) -> pd.Series:
    """A residue, if held-out numbers confirm what fitted ones chose; else order; else neither."""
    residue = features["good_train"] & (features["q_value"] <= Q_LEVEL)
    ordered = features["rho"].abs() >= MONOTONE
    shared = ordered & (features["rho_tasks"] * np.sign(features["rho"]) >= MONOTONE)
    names = "mod" + features["modulus"].astype(str) + "/" + features["residue"].astype(str)
    choices = [names, "ordinal/shared", "ordinal/numbers"]
    return pd.Series(np.select([residue, shared, ordered], choices, "neither"), features.index)


def _witness_cosine(
    features: pd.DataFrame, ensemble: SAEEnsemble, witnesses: list[ResidueDirections]
) -> np.ndarray:
    """Cosine of each latent with the witness of its residue, fitted with the same fold held out."""
    out = np.empty(len(features))
    for member, rows in features.groupby("member").groups.items():
        decoder = ensemble.members[int(member)].W_dec  # pyright: ignore[reportArgumentType]
        witness = witnesses[ensemble.held_out_folds[int(member)]].vectors  # pyright: ignore
        residue = torch.tensor(features.loc[rows, "residue"].to_numpy())
        out[rows] = torch.nn.functional.cosine_similarity(decoder, witness[residue]).numpy()
    return out
