"""Claims about residues, from counts that are made up."""

import pandas as pd

from eval.scorecard.claim import Claim
from eval.scorecard.features import residue_claims


def held_out(hits: list[list[int]]) -> Claim:
    """The claim about held-out numbers, where each residue has ten; one list of hits a member."""
    rows = [
        {"member": member, "modulus": 10, "residue": residue, "good": True}
        | {"held_out_hits": count, "held_out_active": 10, "held_out_members": 10}
        for member, counts in enumerate(hits)
        for residue, count in enumerate(counts)
    ]
    return residue_claims(pd.DataFrame(rows), 10)[1]


def test_one_member_has_an_interval_over_residues() -> None:
    claim = held_out([[8, 9] * 5])
    assert claim.value == 0.85
    assert claim.low < 0.85 < claim.high
    assert "over residues" in claim.bar


def test_one_member_that_is_always_right_is_not_certain() -> None:
    claim = held_out([[10] * 10])
    assert claim.low < 0.75
    assert claim.high == 1


def test_several_members_have_an_interval_over_members() -> None:
    claim = held_out([[8] * 10, [10] * 10, [9] * 10])
    assert claim.low < claim.value < claim.high
    assert "over members" in claim.bar
