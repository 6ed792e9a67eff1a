"""The card of one label: what it says, its vector, who bears it, and the evidence."""

from dataclasses import dataclass

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from features.cards.shown import Block, short, with_interval


@dataclass(frozen=True, eq=False)
class FeatureCard:
    """What the catalog knows of one label."""

    label: str
    says: str
    """What the label says, in words."""
    vector: Float[Tensor, " d_model"] | None
    """Of unit norm; None where the catalog keeps none for this label."""
    source: str
    """Where the vector comes from, or where to get one."""
    latents: pd.DataFrame
    """The rows of `features` that bear the label, over all members."""
    evidence: pd.DataFrame
    """One row per `figure`, its index: `value`, `low`, `high` (95%, over members; NaN where there
    is no interval), `control` and what it is (`against`), `n` and what it counts (`counted`). See
    `features.cards.evidence.latent_figures`."""
    members: int
    """How many members have a latent of this label."""
    of_members: int

    def __repr__(self) -> str:
        return self._block().text()

    def _repr_html_(self) -> str:
        return self._block().html()

    def _block(self) -> Block:
        rows = [["figure", "value [95%]", "control", "n"]]
        for name, row in self.evidence.iterrows():
            rows.append(
                [
                    str(name).replace("_", " "),
                    _value(row["value"], row["low"], row["high"]),
                    "-" if pd.isna(row["control"]) else f"{short(row['control'])} {row['against']}",
                    _counted(row["n"], row["counted"]),
                ]
            )
        return Block(
            f"{self.label}: {self.says} ({self.members} of {self.of_members} members, "
            f"{_counted(len(self.latents), 'latents')})",
            rows,
            [f"vector: {self.source}", *self._key()],
        )

    def _key(self) -> list[str]:
        names = set(self.evidence.index)
        out = [
            "[95%]: over members; none for a q-value, nor where a single member has the latents."
            if self.of_members > 1
            else "No intervals over members: there is one member."
        ]
        if "confirmed" in names:
            if self.evidence["control"].isna().loc["members"]:
                out.append("members: no control; what chance does is in the rows below it.")
            out.append(
                "confirmed, r2, q: of all latents that the label was chosen for on fitted tokens; "
                "r2 is their median."
            )
        if "precision_held_out" in names or "recall_held_out" in names:
            out.append(
                "precision, recall: of each member's best latent (F1 on fitted numbers), pooled "
                "over held-out numbers."
            )
        if "precision" in names:
            out.append("precision, recall: over all numbers, most of them fitted.")
        if "index_r2" in names:
            out.append("index r2: the index read along the vector; its interval is over elements.")
        return out


def _value(value: float, low: float, high: float) -> str:
    if pd.notna(low):
        return with_interval(value, low, high)
    small = f"{value:.1g}"  # a q-value of .003 is not .00
    return short(value) if abs(value) >= 0.1 else small.replace("0.", ".", 1)


def _counted(n: int, what: str) -> str:
    return f"{n} {what.removesuffix('s') if n == 1 else what}"
