"""What `ordinal verify` says about natural text: ten lines."""

import textwrap
from typing import Any

import pandas as pd

from features.cards.shown import WIDTH, short, with_interval
from ordinal.run_folder import Run

Row = dict[Any, Any]


def print_text(run: Run) -> None:
    """What the head does where it wins, beside permuted next tokens and two other heads."""
    table = run.table("text_shares")
    if table.empty:
        why = f"in text: not testable, {table.attrs.get('not_testable', '')}"
        print(textwrap.fill(why, WIDTH, break_on_hyphens=False))
        return
    heads = [_rows(found) for _, found in table.groupby("role", sort=False)]
    names = [
        f"L{row['layer']}H{row['head']}" for row in (rows["positions", "win"] for rows in heads)
    ]
    mine, others = heads[0], heads[1:]
    wins = mine["positions", "win"]
    beside = ", ".join(
        f"{name} {_short(rows['positions', 'win']['share'])}"
        for name, rows in zip(names[1:], others, strict=True)
    )
    print(f"in text: {names[0]} wins {_interval(wins)} of {wins['n']} positions ({beside})")
    kinds = {kind: row for (among, kind), row in mine.items() if among == "wins"}
    n = next(iter(kinds.values()))["n"]
    headings = [f"{n} wins", "share [95%]", "of loss saved", "permuted", *names[1:]]
    print(_line(headings))
    for kind, row in kinds.items():
        controls = [_short(rows["wins", kind]["share"]) for rows in others]
        saved = with_interval(row["of_loss"], row["of_loss_low"], row["of_loss_high"])
        saved = _short(row["of_loss"]) if pd.isna(row["of_loss_low"]) else saved
        cells = [kind, _interval(row), saved, _short(row["permuted"]), *controls]
        missed = kind == "succession" and not row["share_low"] > row["permuted_95"]
        print(_line(cells) + ("  NO" if missed else ""))
    if ("lists", "win") in mine:
        row = mine["lists", "win"]
        beside = ", ".join(
            f"{name} {short(rows['lists', 'win']['share'])}"
            for name, rows in zip(names[1:], others, strict=True)
        )
        print(f"lists: {names[0]} wins {_interval(row)} of {row['n']} prompts ({beside})")
    _print_losses(run.table("text_losses"))


def _print_losses(table: pd.DataFrame) -> None:
    """What the residues save of the loss, beside random subspaces; nothing where not measured."""
    from eval.patching.lesions import MATCHED
    from eval.text.losses import ORDINAL, OTHER

    found = {(row["removed"], row["positions"]): row for row in table.to_dict("records")}
    removed = next((name for name, _ in found if name.startswith("mod-")), None)
    parts = []
    for kind in (ORDINAL, OTHER):
        if row := found.get((removed, kind)):
            random = found.get((MATCHED, kind), {}).get("change", float("nan"))
            rise = with_interval(row["change"], row["change_low"], row["change_high"])
            parts.append(f"{kind} {rise} (random {_short(random)}, n {row['n_positions']:,})")
    if parts:
        line = f"rise of loss in text without {removed}, in nats: {'; '.join(parts)}"
        print(textwrap.fill(line, WIDTH, break_on_hyphens=False))


def _rows(table: pd.DataFrame) -> dict[tuple[str, str], Row]:
    return {(row["among"], row["class"]): dict(row) for row in table.to_dict("records")}


def _short(value: float) -> str:
    return "-" if pd.isna(value) else short(value)


def _interval(row: Row) -> str:
    return with_interval(row["share"], row["share_low"], row["share_high"])


def _line(cells: list[str]) -> str:
    widths = [12, 14, 14] + [8] * (len(cells) - 3)
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return ("  " + "  ".join(padded)).rstrip()
