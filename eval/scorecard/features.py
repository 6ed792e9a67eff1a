"""That the dictionaries hold a feature for each residue, the same one under every seed."""

from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float

from eval.scorecard.claim import Claim, above, below, interval, judged, row, untestable
from features.cards.shown import short
from features.residues import GOOD
from features.statistics import bootstrap_means
from features.structure.matching import BAR as MATCHED
from lm.ordinals import FOLDS

MEMBERS_BAR = 0.5
"""Share of the members that must have a feature for every residue."""
AGREE_BAR = 0.5
"""Share of the edits that two seeds must both get right."""
DRAWS = 1000
"""Of the members, for an interval over them."""


def residue_claims(residues: pd.DataFrame, modulus: int, *, seed: int = 0) -> list[Claim]:
    """That the dictionaries hold one feature for each residue, on held-out numbers too."""
    tested = residues[residues["modulus"] == modulus]
    controls = residues[residues["modulus"] != modulus]
    complete = tested.groupby("member")["good"].all().to_numpy(float)
    members = bootstrap_means(complete[None], np.arange(len(complete)), seed=seed)
    share = members.estimate[0], *members.interval()[:, 0]
    moduli = ", ".join(str(m) for m in controls["modulus"].unique())
    others = int(controls["good"].sum())
    counts = ["held_out_hits", "held_out_active", "held_out_members"]
    by_member = tested.pivot_table(index="member", columns="residue", values=counts, aggfunc="sum")
    pooled = np.stack([by_member[name].to_numpy(float) for name in counts])
    each = _worse_of_both(pooled.sum(1))
    over = "members" if len(complete) > 1 else "residues"
    low, high = _over_members(pooled, seed) if over == "members" else _over_residues(each, seed)
    return [
        judged(
            "features found",
            f"members, {modulus} residues",
            share,
            f"mod {moduli}: {others} of {len(controls)}"
            if moduli
            else "no other modulus is testable",
            len(complete),
            f"above {MEMBERS_BAR:.0%} of members (over all numbers, held out or not), no good "
            "latent for the other moduli",
            above(share, MEMBERS_BAR) + below((others, others, others), 1),
        ),
        judged(
            "held-out labels",
            "held-out min(P, R)",
            (each.mean(), low, high),
            f"worst {short(each.min())}, chance {short(1 / modulus)}",
            int(pooled[2, :FOLDS].sum()),  # members beyond hold out the same folds again
            f"mean over residues above {GOOD} (interval: over {over})",
            above((each.mean(), low, high), GOOD),
        ),
    ]


def stability_claim(structure: dict[str, pd.DataFrame], modulus: int) -> Claim:
    """That other seeds learn the same latents."""
    name = "latents, other seeds"
    matching = structure.get("matching", pd.DataFrame({"group": []}))
    own, random = row(matching, group=f"mod{modulus}"), row(matching, group="random directions")
    if not own or not random:
        return untestable("stability", name, "needs several SAEs with labelled residues")
    values = interval(own, "cosine")
    return judged(
        "stability",
        name,
        values,
        f"random {short(random['cosine'])}",
        own["n"],
        f"above {MATCHED}, and above random directions' interval",
        above(values, MATCHED, random["cosine_high"]),
    )


def reliability_claim(edits: pd.DataFrame, modulus: int, *, seed: int = 0) -> Claim:
    """That an edit works under two SAEs of different seeds with the same numbers held out."""
    name = "edits under two seeds"
    mine = edits[(edits["directions"] == "SAE") & (edits["operator"] == "add")]
    plain = (mine["i"] != modulus - 1) & (mine["j"] != modulus - 1)
    numbers = mine[(mine["task"] == "numbers") & (mine["split"] != "other") & plain]
    both = {c: _both_right(part) for c, part in numbers.groupby("control") if c != "permuted"}
    if both["none"].empty:
        return untestable("reliability", name, f"needs more than {FOLDS} SAEs: two for a fold")
    result, random = (
        bootstrap_means(
            both[c]["right"].to_numpy(float)[None], both[c]["index"].to_numpy(), seed=seed
        )
        for c in ("none", "random")
    )
    values = result.estimate[0], *result.interval()[:, 0]
    return judged(
        "reliability",
        name,
        values,
        f"random {short(random.estimate[0])}",
        both["none"]["text"].nunique(),
        f"above {AGREE_BAR}, and above random vectors' interval",
        above(values, AGREE_BAR, random.interval()[1, 0]),
    )


def _both_right(edits: pd.DataFrame) -> pd.DataFrame:
    """One row for each edit and pair of members that hold out the same fold."""
    keys = ["text", "index", "i", "j"]
    wide = edits.pivot_table(index=keys, columns="member", values="success")
    pairs = [
        (wide[a] * wide[b]).dropna().rename("right").reset_index()
        for a, b in combinations(wide.columns, 2)
    ]
    found = [pair for pair in pairs if len(pair)]
    return pd.concat(found) if found else pd.DataFrame(columns=[*keys, "right"])


def _worse_of_both(counts: Float[np.ndarray, "3 residues"]) -> Float[np.ndarray, " residues"]:
    """The worse of precision and recall, of each residue."""
    hits, active, present = np.maximum(counts, 1e-9)
    return np.minimum(hits / present, hits / active)


def _over_members(
    pooled: Float[np.ndarray, "3 members residues"], seed: int
) -> Float[np.ndarray, "2"]:
    """95% interval of the residues' mean, with members drawn again and again."""
    rng, size = np.random.default_rng(seed), pooled.shape[1]
    drawn = (pooled[:, rng.integers(size, size=size)].sum(1) for _ in range(DRAWS))
    return np.percentile([_worse_of_both(draw).mean() for draw in drawn], [2.5, 97.5])


def _over_residues(each: Float[np.ndarray, " residues"], seed: int) -> Float[np.ndarray, "2"]:
    """95% interval of the mean, for a single member: drawing it again and again has no spread."""
    return bootstrap_means(each[None], np.arange(len(each)), seed=seed).interval()[:, 0]
