"""What `ordinal features` and `ordinal verify` say about structure: a line for each finding."""

from typing import Any

import pandas as pd

from eval.patching.importance import PAPER as MODAL_PAPER
from features.cards.shown import short, with_interval
from features.structure.matching import BAR
from ordinal.run_folder import Run

PROBE_PAPER = 0.708
"""Mean cosine of the paper's linear probe with its SAE features (section 3.2)."""
LEVEL = 0.05
"""p-value, or interval above its control, from which a line is not marked NO."""
Row = dict[Any, Any]


def print_structure(run: Run) -> None:
    """At most six lines: each figure with its control, an interval or p, and n."""
    tables, modulus = run.structure_tables(), run.config.features.modulus
    found = {
        "fourier": lambda: _period(tables["fourier"], modulus),
        "cyclic": lambda: _cycles(tables["cyclic"]),
        "index_and_domain": lambda: _decoding(tables["index_and_domain"]),
        "ordinal_span": lambda: _span(tables["ordinal_span"]),
        "matching": lambda: _matching(tables["matching"], modulus),
    }
    for line in [line() for name, line in found.items() if name in tables]:
        if line:
            print(line)
    left_out = [name.replace("_", " ") for name in tables["left_out"]["table"]]
    if left_out:
        print(f"not testable: {', '.join(left_out)} (structure/left_out.parquet)")


def print_witnesses(run: Run) -> None:
    """How near the probe comes to the SAE, and how much of a class its modal latent covers."""
    witnesses, modal = run.table("witness_summary"), run.table("importance_summary")
    if len(witnesses):
        probe = _rows(witnesses, "witness")["probe"]
        print(
            f"probe and SAE: cosine {_interval(probe, 'cosine')} (random "
            f"{short(probe['cosine_random'])}; paper {short(PROBE_PAPER, 3)}; {probe['n']} "
            f"residues){_unless(probe['cosine_low'] > probe['cosine_random'])}"
        )
    if len(modal):
        rows = _rows(modal, "tokens")
        every, held = rows["all tokens"], rows["held out"]
        print(
            f"modal latent: {_interval(every, 'share')} of a residue's tokens (permuted "
            f"{short(every['permuted'])}; paper {short(MODAL_PAPER, 3)}),"
        )
        print(
            f"  held out {_interval(held, 'share')} (permuted {short(held['permuted'])}; p "
            f"{held['p_value']:.1g}; {held['n']} tokens){_unless(held['p_value'] < LEVEL)}"
        )


def _period(table: pd.DataFrame, modulus: int) -> str:
    row = _rows(table, "period").get(modulus)
    if row is None:
        return ""
    return (
        f"period {modulus}: {short(row['power'])} of the variance (shuffled 95% "
        f"{short(row['null_95'])}; p {row['p_value']:.1g}; {row['n']} numbers)"
        f"{_unless(row['p_value'] < LEVEL)}"
    )


def _cycles(table: pd.DataFrame) -> str:
    rows = _rows(table[table["test"] == "circle"], "task")
    shown = [
        f"{task} round a circle: {short(row['value'])} (other orders 95% "
        f"{short(row['null_95'])}; p {row['p_value']:.1g}; {row['n']} words)"
        f"{_unless(row['p_value'] < LEVEL)}"
        for task, row in rows.items()
        if not task.endswith("_prefixes")
    ]
    return "\n".join(shown)


def _decoding(table: pd.DataFrame) -> str:
    row = _rows(table[table["decoder"] == "sum"], "task")["all"]
    value = with_interval(row["accuracy"], row["low"], row["high"])
    return (
        f"index + domain: {value} put together (permuted {short(row['permuted'])}; "
        f"{row['n_pairs']} pairs){_unless(row['low'] > row['permuted'])}"
    )


def _span(table: pd.DataFrame) -> str:
    rows = _rows(table[(table["left_out"] == "indices") & (table["task"] == "all")], "size")
    if not rows:
        return ""
    row = rows[max(rows)]
    return (
        f"order in {max(rows)} latents: R2 {_interval(row, 'r2')} (random 95% "
        f"{short(row['r2_random_95'])}; {row['n']} elements)"
        f"{_unless(row['r2_low'] > row['r2_random_95'])}"
    )


def _matching(table: pd.DataFrame, modulus: int) -> str:
    rows = _rows(table, "group")
    row, random = rows[f"mod{modulus}"], rows["random directions"]
    again = sum(rows[f"mod{modulus}/{r}"]["max_cosine"] >= BAR for r in range(modulus))
    return (
        f"other seeds: {again} of {modulus} residues at {short(BAR)}; MMCS "
        f"{_interval(row, 'max_cosine')} (random {short(random['max_cosine'])}; "
        f"{row['n_pairs']} pairs)"
    )


def _rows(table: pd.DataFrame, key: str) -> dict[Any, Row]:
    return {row[key]: dict(row) for row in table.to_dict("records")}


def _unless(holds: bool) -> str:
    return "" if holds else ": NO"


def _interval(row: Row, name: str) -> str:
    return with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"])
