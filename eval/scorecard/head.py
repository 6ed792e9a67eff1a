"""That one head computes succession, and nothing before it does."""

import pandas as pd

from eval.heads.successor import HeadChoice
from eval.scorecard.claim import Claim, above, below, interval, judged, row
from features.cards.shown import short

HEAD_BAR = 0.5
"""The paper finds scores above this in most models (section 2)."""
HEAD_RATIO = 2.0
"""The chosen head against its runner-up."""


def head_claims(choice: HeadChoice, baselines: pd.DataFrame) -> list[Claim]:
    """The chosen head where it was not chosen, and what the tokens say without it."""
    direct = interval(row(baselines, read="W_E + M"), "score")
    score = choice.score, choice.low, choice.high
    twice = HEAD_RATIO * choice.runner_up_score
    return [
        judged(
            "selection correction",
            f"L{choice.layer}H{choice.head} successor head",
            score,
            f"next {short(choice.runner_up_score)}, chance {short(choice.chance)}",
            choice.n_tokens,
            f"above {HEAD_BAR}, and above {HEAD_RATIO:g} times the runner-up's score",
            above(score, HEAD_BAR, twice),
        ),
        judged(
            "baseline separation",
            "W_E + M(t), no head",
            direct,
            f"with it {short(choice.score)}",
            row(baselines, read="W_E + M")["n_tokens"],
            "below the head's interval",
            below(direct, choice.low),
        ),
    ]


def context_claim(context: pd.DataFrame, choice: HeadChoice) -> Claim:
    """That the head's succession survives in a real residual stream."""
    stream = row(context, read="residual stream in context")
    alone = row(context, read="M(t)")
    values = interval(stream, "score")
    return judged(
        "prompt generalisation",
        f"L{choice.layer}H{choice.head} in context",
        values,
        f"M(t) {short(alone['score'])}, chance {short(choice.chance)}",
        stream["n_tokens"],
        f"above {HEAD_BAR}",
        above(values, HEAD_BAR),
    )
