"""What `ordinal verify` says about what else the head does, and what else the directions do."""

from typing import Any

import pandas as pd

from eval.heads.greater_than import EVERY_TASK, HEAD, NO_HEAD
from eval.heads.induction import INDUCTION, MOST
from eval.heads.role_readouts import COPYING, TENS, UNITS
from eval.patching.lesions import MATCHED
from features.cards.shown import short, with_interval
from ordinal.run_folder import Run

LEVEL = 0.05
"""p-value from which a line is marked NO."""
Row = dict[str, Any]


def print_controls(run: Run) -> None:
    """At most twelve lines: each figure with its control, an interval and n."""
    mod = f"mod-{run.config.features.modulus}"
    roles = run.table("head_roles")
    lines = _behaviours(run.table("behaviours"))
    lines += _greater_than(run.table("greater_than"), mod)
    lines += _dissociation(run.table("dissociation"), mod, _copying_head(roles))
    lines += _contrasts(run.table("dissociation_contrasts")) + _induction(roles)
    for line in lines:
        print(line)


def _behaviours(table: pd.DataFrame) -> list[str]:
    table = table[table["task"] == EVERY_TASK]
    rows = _rows(table[table["role"] == "successor head"], "behaviour")
    rival = _rows(table[table["role"] == "runner-up"], "behaviour")["succession"]
    succession = rows.pop("succession")
    times = f"{rival['ratio']:.1f} [{rival['ratio_low']:.1f},{rival['ratio_high']:.1f}]"
    others = [f"{name} {_interval(row, 'score', 'score_')}" for name, row in rows.items()]
    chance = ", ".join(short(row["chance"]) for row in rows.values())
    return [
        f"succession {_interval(succession, 'score', 'score_')}: {times} times the next "
        f"(chance {short(succession['chance'])}; n {succession['n_tokens']})",
        ", ".join(others[:3]) + ("," if others[3:] else ""),
        f"  {', '.join([*others[3:], ''])}by chance {chance}",
    ]


def _greater_than(table: pd.DataFrame, mod: str) -> list[str]:
    if table.empty or EVERY_TASK not in set(table["task"]):
        return []
    table = table[table["task"] == EVERY_TASK]
    sources = [source for source in table["directions"].unique() if source]
    rows = _rows(table[table["directions"].isin(["", *sources[:1]])], "reading")
    head = rows[HEAD]
    others = {"without head": NO_HEAD, f"without {mod}": f"{mod} removed"}
    others["random"] = f"{MATCHED} removed"
    shown = [
        f"{name} {_interval(rows[reading], 'auc', 'auc_')}"
        for name, reading in others.items()
        if reading in rows
    ]
    return [
        f"greater-than AUC {_interval(head, 'auc', 'auc_')} (permuted 95% "
        f"{short(head['permuted_95'])}; p {head['p_value']:.1g}; n {head['n_tokens']})"
        f"{_unless(head['p_value'] < LEVEL)}",
        f"  {', '.join(shown)}",
    ]


def _dissociation(table: pd.DataFrame, mod: str, copying_head: str) -> list[str]:
    if table.empty:
        return ["double dissociation: not testable without residues"]
    source = table["directions"].iloc[0]
    table = table[table["directions"] == source]
    titles = {UNITS: "units", TENS: "tens", COPYING: f"copying by {copying_head}"}
    first = _rows(table[table["removed"] == mod], "readout")
    titles = {name: title for name, title in titles.items() if name in first}
    heads = [f"{title}, n {first[name]['n_tokens']}" for name, title in titles.items()]
    before = [short(first[name]["before"]) for name in titles]
    lines = [_columns(f"removed ({source})", heads), _columns("nothing", before)]
    for removed, name in ((mod, mod), ("tens", "tens"), (MATCHED, "random")):
        rows = _rows(table[table["removed"] == removed], "readout")
        if rows:
            lines.append(_columns(name, [_interval(rows[readout], "value") for readout in titles]))
    return lines


def _contrasts(table: pd.DataFrame) -> list[str]:
    if table.empty:
        return []
    rows = table[table["directions"] == table["directions"].iloc[0]].to_dict("records")[:2]
    names = {UNITS: "units", TENS: "tens"}
    shown = [f"{names[row['readout']]} {_interval(row, 'value')}" for row in rows]
    holds = len(rows) == 2 and all(row["low"] > 0 for row in rows)
    return [f"double dissociation: {', '.join(shown)} (none: 0){_unless(holds)}"]


def _induction(roles: pd.DataFrame) -> list[str]:
    rows = _rows(roles[roles["readout"] == INDUCTION], "role")
    if not rows:
        return []
    row = rows["induction head"]
    holds = row["low"] > row["chance"] and row["value"] > MOST
    value = with_interval(row["value"], row["low"], row["high"], digits=3)
    return [
        f"induction: {_name(row)} {value} (not repeated {short(row['chance'], 3)}; "
        f"{row['n_tokens']:.0f} sequences){_unless(holds)}"
    ]


def _copying_head(roles: pd.DataFrame) -> str:
    return _name(_rows(roles, "role")["copying head"])


def _name(row: Row) -> str:
    return f"L{row['layer']:.0f}H{row['head']:.0f}"


def _columns(first: str, others: list[str]) -> str:
    return (first.ljust(22) + "".join(cell.ljust(18) for cell in others)).rstrip()


def _rows(table: pd.DataFrame, key: str) -> dict[str, Row]:
    return {str(row[key]): {str(k): v for k, v in row.items()} for row in table.to_dict("records")}


def _unless(holds: bool) -> str:
    return "" if holds else ": NO"


def _interval(row: Row, name: str, prefix: str = "") -> str:
    return with_interval(row[name], row[f"{prefix}low"], row[f"{prefix}high"])
