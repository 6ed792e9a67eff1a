"""What `ordinal checkpoints` prints."""

import textwrap

import numpy as np
import pandas as pd

from features.cards.shown import short, with_interval
from ordinal.checkpoint_study import TABLE, OverTraining
from ordinal.printed.tables import intervals, print_json, print_table
from ordinal.report.over_training import write_over_training


def print_over_training(studied: OverTraining, as_json: bool) -> None:
    """Both curves as tables, what they come to, and where the page is; the page is written."""
    table, name = studied.table, studied.series.name
    found = lines(table)
    page = write_over_training(studied, found)
    if as_json:
        print_json("checkpoints", table)
        return
    fixed = _head(table.iloc[-1], "fixed_layer", "fixed_head")
    succession = table.assign(
        best=[_head(row, "layer", "head") for _, row in table.iterrows()],
        best_score=intervals(table, "score", "score_low", "score_high"),
        next=table["runner_up"].map(short),
        fixed=intervals(table, "fixed_score", "fixed_score_low", "fixed_score_high"),
        without=table["without_head"].map(short),
        guess=table["chance"].map(short),
    )
    columns = {"label": "checkpoint", "fixed": f"{fixed} [95%]", "best": "best"}
    columns |= {"best_score": "its score [95%]", "next": "next", "without": "none"}
    columns |= {"guess": "guess", "n_tokens": "n"}
    print_table(succession, columns, f"{name}: successor scores over training")
    reported = table[table["probe"].notna()]
    if len(reported):
        residues = reported.assign(
            probed=intervals(reported, "probe", "probe_low", "probe_high"),
            probe_control=reported["probe_permuted_95"].map(short),
            periodic=reported["power"].map(short),
            power_control=reported["power_permuted_95"].map(short),
            edited=intervals(reported, "edits", "edits_low", "edits_high"),
            random=reported["edits_random"].map(short),
        )
        columns = {"label": "checkpoint", "probed": "probe [95%]", "probe_control": "perm."}
        columns |= {"periodic": "power", "power_control": "perm."}
        columns |= {"edited": "edits [95%]", "random": "random"}
        print_table(residues, columns, f"{name}: n mod 10 in M(t) over training")
    for line in [*found, _key(table)]:
        print(textwrap.fill(line, 80, break_on_hyphens=False))
    print(f"Look:   {page}")
    print(f"Table:  {studied.folder / TABLE}")


def lines(table: pd.DataFrame) -> list[str]:
    """What the curves come to: where they begin and end, and from where on they stand out."""
    first, last = table.iloc[0], table.iloc[-1]
    fixed = _head(last, "fixed_layer", "fixed_head")
    begins, ends = (_interval(row, "fixed_score") for row in (first, last))
    out = [
        f"{fixed}, chosen at {last['label']} on half of the elements, has {ends} there on the "
        f"other half and {begins} at {first['label']} (n {last['n_tokens']}, guessing "
        f"{short(last['chance'])}). "
        + _since(table, table["fixed_score_low"] > table["chance"], "above guessing")
    ]
    if pd.isna(last["probe"]):
        return [*out, f"Residues modulo 10: {last['not_testable']}."]
    begins, ends = (_interval(row, "probe") for row in (first, last))
    bar = np.fmax(table["probe_permuted_95"], table["probe_chance"])
    out.append(
        f"A probe of n mod 10 on M(t) is right on {ends} of held-out numbers at {last['label']} "
        f"and {begins} at {first['label']} (n {last['n_numbers']:.0f}, permuted "
        f"{short(last['probe_permuted'])}, chance {short(last['probe_chance'])}). "
        + _since(table, table["probe_low"] > bar, "above its controls")
    )
    if last["not_testable"]:
        return [*out, f"Edits: {last['not_testable']}."]
    begins, ends = (_interval(row, "edits") for row in (first, last))
    out.append(
        f"Edits by class means are exact in {ends} at {last['label']} and {begins} at "
        f"{first['label']} (n {last['n_edited']:.0f}, random {short(last['edits_random'])}). "
        + _since(
            table, table["edits_low"] > table["edits_random_high"], "above that of random vectors"
        )
    )
    return out


def _since(table: pd.DataFrame, holds: pd.Series, what: str) -> str:
    """The first checkpoint from which every one holds."""
    broken = np.flatnonzero(~holds.to_numpy())
    first = broken[-1] + 1 if len(broken) else 0
    if first == len(table):
        return f"At the last, its interval is not {what}."
    return f"Its interval is {what} from {table['label'].iloc[first]} on."


def _key(table: pd.DataFrame) -> str:
    last = table.iloc[-1]
    key = (
        "best: the checkpoint's own best head, chosen on the same half; next: the runner-up. "
        f"none: W_E + M(t) without a head (n {last['n_without_head']}). n: tokens. "
    )
    if pd.notna(last["probe"]):
        key += (
            f"probe: held-out accuracy (n {last['n_numbers']:.0f}). power: share of M's variance "
            "at period 10; it has no interval, M has no noise. perm.: 95th percentile with "
            "numbers permuted within bands of 20. edits: share exact, read by the fixed head "
            f"(n {last['n_edited']:.0f}); random: vectors as long. "
        )
    return key + "Each checkpoint is judged alone: nothing is corrected for their number."


def _interval(row: pd.Series, name: str) -> str:
    return with_interval(*(row[f"{name}{end}"] for end in ("", "_low", "_high")))


def _head(row: pd.Series, layer: str, head: str) -> str:
    return f"L{row[layer]}H{row[head]}"
