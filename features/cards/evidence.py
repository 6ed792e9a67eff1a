"""The figures behind a label: each with its control, its interval over members, and its n."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from features.discovery import LEVEL, NEITHER
from features.statistics import Bootstrap, bootstrap_means, bootstrap_median

Interval = tuple[float, float, float]
"""A value and its two ends; the ends are NaN where there is one member only."""


class Figure(NamedTuple):
    """One figure, with what it is to be compared with."""

    figure: str
    value: float
    low: float
    high: float
    """95% interval, over members; NaN where there is none."""
    control: float
    against: str
    """What the control is."""
    n: int
    counted: str
    """What n counts."""


def latent_figures(
    label: str, features: pd.DataFrame, controls: Sequence[int], d_model: int
) -> list[Figure]:
    """What is known of a label's latents, over all members.

    `confirmed`, `r2_held_out` and `worst_q_held_out` are about every latent that the label was
    chosen for on fitted tokens, whether or not it was confirmed: the latents that bear the label
    were selected on the held-out tokens, so that their own figures there would flatter it.

    Args:
        label: one that the catalog has.
        features: the catalog's.
        controls: moduli that nothing was expected of; for a label that is a residue.
        d_model: of the model; a random direction's cosine follows from it.
    """
    mine = features[features["label"] == label]
    has = (features["label"] == label).groupby(features["member"]).any()
    by_modulus = features[features["modulus"].isin(controls) & (features["label"] != NEITHER)]
    widest = by_modulus.groupby("label")["member"].nunique().max() if len(by_modulus) else 0
    out = [
        Figure(
            "members",
            *_share(has.to_numpy(float), has.index.to_numpy()),
            widest / len(has) if controls else np.nan,
            f"mod {', '.join(map(str, controls))}" if controls else "",
            len(has),
            "members",
        )
    ]
    tried = features[(features["best"] == label) & features["p_held_out"].notna()]
    if len(tried):
        confirmed = (tried["label"] == label).to_numpy(float)
        share, n = _share(confirmed, tried["member"].to_numpy()), len(tried)
        out.append(Figure("confirmed", *share, LEVEL, "at most, by chance", n, "latents"))
    tested = tried[tried["r2_held_out"].notna()]
    if len(tested):
        r2, n = _median(tested, "r2_held_out"), int(tested["n_tokens"].min())
        out.append(Figure("r2_held_out", *r2, 0.0, "the fitted mean", n, "tokens each"))
    if len(tried):
        q, n = float(tried["q_held_out"].max()), len(tried)
        out.append(Figure("worst_q_held_out", q, np.nan, np.nan, LEVEL, "the bar", n, "latents"))
    if mine["stability"].notna().any():
        unlabelled = (features["label"] == NEITHER) & (features["density"] > 0)
        rest = features[unlabelled & (features["label"] != label)]
        control, n = float(rest["stability"].median()), len(mine)
        stability = _median(mine, "stability")
        out.append(Figure("stability", *stability, control, "unlabelled latents", n, "latents"))
    random = float(np.sqrt(2 / (np.pi * d_model))) if d_model else np.nan
    for name in ("cosine_class_mean", "cosine_probe"):
        known = mine[mine[name].notna() & (mine["best"] == label)] if name in mine else mine[:0]
        if len(known):
            cosine, n = _median(known, name), len(known)
            out.append(Figure(name, *cosine, random, "random direction", n, "latents"))
    return out


def residue_figures(modulus: int, residue: int, features: pd.DataFrame) -> list[Figure]:
    """Precision and recall of the latents of a residue over all numbers, in the worst spelling.

    For moduli that `residue_table` leaves out; most of these numbers are fitted ones.
    """
    mine = features[features["label"] == f"mod{modulus}/{residue}"]
    mine = mine[mine["precision"].notna() & mine["recall"].notna()]
    if mine.empty:
        return []
    member, n = mine["member"].to_numpy(), len(mine)
    precision, recall = (_share(mine[name].to_numpy(), member) for name in ("precision", "recall"))
    density = float(mine["density"].mean())
    return [
        Figure("precision", *precision, 1 / modulus, "chance", n, "latents"),
        Figure("recall", *recall, density, "chance", n, "latents"),
    ]


def held_out_figures(modulus: int, residue: int, table: pd.DataFrame) -> list[Figure]:
    """Precision and recall of each member's best latent, pooled over what each member held out.

    The latent is the best by F1 on fitted numbers, whether or not it bears the residue's label.

    Args:
        modulus: one that the table has.
        residue: of the label.
        table: what `features.residue_table.residue_table` returns.
    """
    rows = table[table["modulus"] == modulus]
    total = int(rows["held_out_members"].sum())
    mine = rows[rows["residue"] == residue]
    hits, active, present = (
        mine[name].to_numpy(float)
        for name in ("held_out_hits", "held_out_active", "held_out_members")
    )
    member, out = mine["member"].to_numpy(), []
    for name, of, other in (("precision", active, present), ("recall", present, active)):
        if of.sum():
            share, chance = _ratio(hits, of, member), float(other.sum() / total)
            figure = f"{name}_held_out"
            out.append(Figure(figure, *share, chance, "chance", int(of.sum()), "tokens"))
    return out


def direction_figures(order: pd.DataFrame) -> list[Figure]:
    """How well the index is read along the ordinal directions of a table."""
    return [
        Figure(
            "index_r2",
            row["r2"],
            row["r2_low"],
            row["r2_high"],
            row["r2_permuted"],
            "permuted elements",
            int(row["n_tokens"]),
            "tokens",
        )
        for row in order.to_dict("records")
    ]


def _median(rows: pd.DataFrame, column: str) -> Interval:
    return bootstrap_median(rows[column].to_numpy(float), rows["member"].to_numpy())


def _share(values: np.ndarray, member: np.ndarray) -> Interval:
    return _ends(bootstrap_means(values[None], member))


def _ratio(part: np.ndarray, whole: np.ndarray, member: np.ndarray) -> Interval:
    """Of two sums over members, both drawn together."""
    means = bootstrap_means(np.stack([part, whole]), member)
    top, bottom = means.draws.T
    drawn = np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)
    ratio = means.estimate[:1] / means.estimate[1:]
    return _ends(Bootstrap(ratio, drawn[:, None], means.n_rows, means.n_clusters))


def _ends(share: Bootstrap) -> Interval:
    low, high = share.interval()[:, 0] if share.n_clusters > 1 else (np.nan, np.nan)
    return float(share.estimate[0]), float(low), float(high)
