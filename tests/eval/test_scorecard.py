"""Claims about residues, from counts that are made up."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eval.patching.lesions import MATCHED
from eval.scorecard.claim import Claim, Comparison, verdict
from eval.scorecard.features import residue_claims
from eval.scorecard.specificity import specificity_claim
from eval.text.losses import ALL, ORDINAL

ROOT = Path(__file__).parents[2]


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


def specificity(rise: float, elsewhere: float, random: float = 0.1, every: float = 0.5) -> Claim:
    """The claim, where the loss rises by so much at ordinal tokens and at others."""
    share = 1 - elsewhere / rise
    rows = [
        {"removed": removed, "change": change, "specificity": found}
        for removed, change, found in (
            ("mod-10", rise, share),
            (MATCHED, random, 1.0),
            (ALL, 5.0, every),
        )
    ]
    table = pd.DataFrame(rows).assign(directions="SAE", positions=ORDINAL, n_positions=900)
    for name in ("change", "specificity"):
        table[f"{name}_low"], table[f"{name}_high"] = table[name] - 0.05, table[name] + 0.05
    return specificity_claim(table, "SAE", 10)


@pytest.mark.parametrize(
    ("rises", "expected"),
    [
        ({"rise": 1.0, "elsewhere": 0.1}, "supported"),
        ({"rise": 1.0, "elsewhere": -0.1}, "supported"),
        ({"rise": 1.0, "elsewhere": 0.27}, "inconclusive"),
        ({"rise": 1.0, "elsewhere": 0.5}, "not supported"),
        ({"rise": 1.0, "elsewhere": 0.1, "random": 1.1}, "not supported"),
        ({"rise": 1.0, "elsewhere": 0.1, "random": 0.92}, "inconclusive"),
        ({"rise": 1.0, "elsewhere": 0.1, "every": 0.9}, "not testable"),
        ({"rise": 1.0, "elsewhere": 0.1, "every": 0.75}, "inconclusive"),
    ],
)
def test_specificity_needs_a_rise_that_is_not_random_and_others_that_can_be_harmed(
    rises: dict[str, float], expected: str
) -> None:
    assert specificity(**rises).verdict == expected


def test_specificity_cannot_be_tested_without_text() -> None:
    table = pd.DataFrame()
    table.attrs["not_testable"] = "no text was given. Give a file."
    claim = specificity_claim(table, "SAE", 10)
    assert (claim.verdict, claim.control) == ("not testable", "no text was given")


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ([Comparison(0.6, 0.9, "above", 0.5)], "supported"),
        ([Comparison(0.4, 0.9, "above", 0.5)], "inconclusive"),
        ([Comparison(0.1, 0.5, "above", 0.5)], "not supported"),
        ([Comparison(0.1, 0.2, "below", 0.3)], "supported"),
        ([Comparison(0.2, 0.4, "below", 0.3)], "inconclusive"),
        ([Comparison(0.3, 0.4, "below", 0.3)], "not supported"),
        ([Comparison(0.6, 0.9, "above", 0.5), Comparison(0.1, 0.4, "below", 0.3)], "inconclusive"),
        ([Comparison(0.6, 0.9, "above", 0.5), Comparison(0.4, 0.5, "below", 0.3)], "not supported"),
        ([Comparison(np.nan, np.nan, "above", 0.5)], "inconclusive"),
    ],
)
def test_the_verdict_is_of_the_bounds_alone(tests: list[Comparison], expected: str) -> None:
    assert verdict(tests) == expected


def test_the_published_rule_has_every_criterion_and_no_other() -> None:
    """Read from the code's own text, so that a criterion cannot be added in silence."""
    page = (ROOT / "docs" / "scorecard.md").read_text()
    published = set(re.findall(r"^\| ([a-z -]+) \|", page, re.MULTILINE)) - {"criterion"}
    code = "".join(file.read_text() for file in (ROOT / "eval" / "scorecard").glob("*.py"))
    code += (ROOT / "ordinal" / "steps" / "judging.py").read_text()
    used = {name for name in published if f'"{name}"' in code}
    assert used == published
    drawn_up = re.findall(r'(?:judged|untestable)\(\s*"([a-z -]+)"', code)
    assert set(drawn_up) == published
