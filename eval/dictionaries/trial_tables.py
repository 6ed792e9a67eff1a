"""Trials taken together: what was recovered at each setting, and how often a label was false."""

import numpy as np
import pandas as pd

from eval.dictionaries.trials import SCRAMBLED
from features.statistics import clopper_pearson


def planted_table(directions: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """What the planted trials of each setting recovered, taken together.

    Returns:
        One row per dial and value: `dial`; `value`; `draws`; `recall`, `recall_latents` (by latents
        alone) and `precision`, with `_low` and `_high` (95%, exact: of directions, and of distinct
        labels, in all draws); `n`, directions; `n_labels`; `cosine` and `cosine_contrast` (means
        over what was recovered), `least_contrast`, and `cosine_random`, the control's largest;
        `missed`, the families that were not recovered whole.
    """
    rows = []
    for (dial, value), part in directions.groupby(["dial", "value"], sort=False):
        mine = labels[(labels["dial"] == dial) & (labels["value"] == value)]
        distinct = mine.groupby(["seed", "label"])["right"].mean()
        short = part.groupby("family", sort=False)["recovered"].mean()
        row = {"dial": dial, "value": value, "draws": part["seed"].nunique()}
        row |= _share("recall", part["recovered"], len(part))
        row |= _share("recall_latents", part["by"] == "latent", len(part))
        row |= _share("precision", distinct, len(distinct))
        row |= {
            "n": len(part),
            "n_labels": len(distinct),
            "cosine": part["cosine"].mean(),
            "cosine_contrast": part["cosine_contrast"].mean(),
            "least_contrast": part["cosine_contrast"].min(),
            "cosine_random": part["cosine_random"].max(),
            "missed": "\n".join(
                f"{name} {1 - share:.0%}" for name, share in short.items() if share < 1
            ),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def negatives_table(trials: pd.DataFrame) -> pd.DataFrame:
    """How many of the negative trials have any false label.

    Returns:
        One row per kind: `kind`; `families`; `any`, the share of runs with a label, with `any_low`
        and `any_high` (95%, exact over runs); `unscrambled`, the share of runs with a label when
        the indices are in place (the control; NaN where there is none); `labels`, false ones in
        all; `latents`, that could have had one; `runs`.
    """
    rows = []
    for kind, families in SCRAMBLED.items():
        part = trials[trials["kind"] == kind]
        if part.empty:
            continue
        control = part["labels_unscrambled"]
        row: dict[str, object] = {"kind": kind, "families": ", ".join(families)}
        row |= _share("any", part["labels"] > 0, len(part))
        row |= {
            "unscrambled": (control > 0).mean() if control.notna().all() else np.nan,
            "labels": int(part["labels"].sum()),
            "latents": int(part["n_latents"].sum()),
            "runs": len(part),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _share(name: str, hits: pd.Series, n: int) -> dict[str, float]:
    value = float(hits.mean()) if n else np.nan
    (low,), (high,) = clopper_pearson(np.array([value]), np.array([n]))
    return {name: value, f"{name}_low": float(low), f"{name}_high": float(high)}
