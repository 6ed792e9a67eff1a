"""That succession over numbers needs the directions, and nothing else that they take with them."""

import pandas as pd

from eval.patching.ablation import RANDOM
from eval.scorecard.claim import Claim, above, below, interval, judged, row, untestable
from features.cards.shown import short

LEFT_BAR = 0.3
"""Share of the score that removing the directions may leave."""
KEPT_BAR = 0.75
"""Share of the score that removing random directions of the same variance must leave."""
SCORE_BAR = 0.5
"""Of the number score before: what is not there cannot be needed."""
RESTORED_BAR = 0.75
"""Score with the token's own class given back."""
OTHER_BAR = 0.25
"""Score with another class given back."""
GRADED = (0.1, 0.9)
"""Share of the full effect at half of the dose: neither at once, nor only at the end."""


def ablation_claims(ablation: pd.DataFrame, modulus: int) -> list[Claim]:
    """One claim per source of directions."""
    to_mean = ablation[ablation["ablation"] == "mean"]
    out = []
    for source in to_mean["directions"].unique():
        name = f"left, {source} ablated"
        found = row(to_mean, directions=source, removed=f"mod-{modulus}")
        tens = row(to_mean, directions=source, removed="tens")
        random = row(to_mean, directions=source, removed=RANDOM)
        if not random:
            reason = "no random subspace of this rank holds as much variance"
            out.append(untestable("necessity", name, reason, directions=source))
            continue
        values = interval(found, "ratio")
        out.append(
            judged(
                "necessity",
                name,
                values,
                f"random {short(random['ratio'])}, tens {short(tens['ratio'])}",
                found["n_tokens"],
                f"below {LEFT_BAR} of the number score, random of the same variance above "
                f"{KEPT_BAR}, the score before above {SCORE_BAR}",
                below(values, LEFT_BAR)
                + above(interval(random, "ratio"), KEPT_BAR)
                + above(interval(found, "score_before"), SCORE_BAR),
                directions=source,
            )
        )
    return out


def rescue_claim(ablation: pd.DataFrame, source: str, modulus: int) -> Claim:
    """That the class alone, given back after the ablation, restores succession."""
    found = row(ablation, directions=source, removed=f"mod-{modulus}", ablation="mean")
    values = interval(found, "restored")
    return judged(
        "rescue",
        "own class given back",
        values,
        f"another class {short(found['restored_other'])}",
        found["n_tokens"],
        f"score above {RESTORED_BAR}, with another class below {OTHER_BAR}",
        above(values, RESTORED_BAR) + below(interval(found, "restored_other"), OTHER_BAR),
        directions=source,
    )


def graded_claim(effects: pd.DataFrame, source: str, modulus: int) -> Claim:
    """That half of the ablation does some of what the whole does."""
    name = "effect, half the dose"
    removal = effects[(effects["kind"] == "removal") & (effects["directions"] == source)]
    found, random = row(removal, what=f"mod-{modulus}"), row(removal, what=RANDOM)
    if not random:
        reason = "no random subspace of this rank holds as much variance"
        return untestable("graded response", name, reason, directions=source)
    full, at_half = interval(found, "full"), interval(found, "at_half")
    return judged(
        "graded response",
        name,
        at_half,
        f"{full[0]:.1f} sd, random {random['full']:.1f}",
        found["n_tokens"],
        f"of the margin's change between {GRADED[0]} and {GRADED[1]} of the whole, which is beyond "
        "random subspaces'",
        below(full, random["full_low"]) + above(at_half, GRADED[0]) + below(at_half, GRADED[1]),
        directions=source,
    )
