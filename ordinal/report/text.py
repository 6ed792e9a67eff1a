"""What the report's section about natural text shows: shares of classes, losses, and cases."""

import pandas as pd

from eval.text.classify import CLASSES
from ordinal.report.sections import Section
from ordinal.report.tables import Table, from_frame, interval, number
from ordinal.run_folder import Run

EXAMPLES = 5
"""Cases of each class, drawn at random."""
LINE_BREAK = "↵"


def text(run: Run) -> Section:
    """The head where it wins and where it loses; the reason where there was no text."""
    shares, cases = run.table("text_shares"), run.table("text_cases")
    if shares.empty:
        return {"not_testable": shares.attrs.get("not_testable", "")}
    mine = shares[shares["role"] == "successor head"]
    succession = mine[(mine["among"] == "wins") & (mine["class"] == "succession")].iloc[0]
    lists = shares[shares["among"] == "lists"]
    first = mine.iloc[0]
    return {
        "not_testable": None,
        "source": shares.attrs.get("source", run.config.verify.text),
        "n_positions": int(first["n"]),
        "n_contexts": int(first["n_contexts"]),
        "length": int(first["n"] // first["n_contexts"]) + 1,
        "succession": _interval(succession),
        "permuted_95": number(float(succession["permuted_95"])),
        "holds": bool(succession["share_low"] > succession["permuted_95"]),
        "n_wins": int(succession["n"]),
        "positions": _positions(shares),
        "wins": _classes(shares, "wins"),
        "losses": _classes(shares, "losses"),
        "successions": _heads(shares[shares["among"] == "successions"], "successions"),
        "losses_without": _losses(run.table("text_losses")),
        "lists": None if lists.empty else _heads(lists, "prompts"),
        "examples": {
            outcome: _examples(cases[cases["outcome"] == outcome], run.config.seed)
            for outcome in ("win", "loss")
        },
    }


def _name(row: pd.Series) -> str:
    return f"{row['role']} L{row['layer']}H{row['head']}"


def _interval(row: pd.Series) -> str:
    return interval(float(row["share"]), float(row["share_low"]), float(row["share_high"]))


def _positions(shares: pd.DataFrame) -> Table:
    rows = []
    for _, found in shares[shares["among"] == "positions"].groupby("role", sort=False):
        by_class = {row["class"]: row for _, row in found.iterrows()}
        win = by_class["win"]
        cells = [_interval(win), _interval(by_class["loss"])]
        rows.append([_name(win), *cells, number(int(win["n"])), number(int(win["n_contexts"]))])
    return Table(["head", "wins [95%]", "loses [95%]", "positions", "contexts"], rows)


def _classes(shares: pd.DataFrame, among: str) -> Table:
    """Each class: the head's share with its controls, then the same share of other heads."""
    found = shares[shares["among"] == among]
    roles = list(found["role"].unique())
    others = [found[found["role"] == role].set_index("class") for role in roles[1:]]
    rows = []
    for _, row in found[found["role"] == roles[0]].iterrows():
        saved = [float(row[column]) for column in ("of_loss", "of_loss_low", "of_loss_high")]
        controls = [number(float(row["permuted"])), number(float(row["permuted_95"]))]
        beside = [_interval(other.loc[row["class"]]) for other in others]
        cells = [_interval(row), interval(*saved), *controls, *beside]
        rows.append([row["class"], *cells, number(int(row["n"]))])
    headings = ["class", "share [95%]", "of the change of loss [95%]", "next permuted, mean", "95%"]
    headings += [f"{_name(other.iloc[0])} [95%]" for other in others]
    return Table([*headings, among], rows)


def _heads(found: pd.DataFrame, of: str) -> Table:
    rows = [[_name(row), _interval(row), number(int(row["n"]))] for _, row in found.iterrows()]
    return Table(["head", "wins [95%]", of], rows)


def _losses(found: pd.DataFrame) -> Table | str:
    """What is removed, and what it costs where the next token is ordinal and where nothing is."""
    if found.empty:
        return str(found.attrs.get("not_testable", ""))
    columns = {"removed": "removed from MLP0’s output", "positions": "positions"}
    columns |= {"loss_before": "loss", "loss_after": "loss after", "change": "rise [95%]"}
    columns |= {"specificity": "only there [95%]", "rank": "rank", "variance_removed": "variance"}
    columns |= {"n_positions": "n", "n_contexts": "contexts"}
    return from_frame(found, columns, intervals=("change", "specificity"), n_text=2)


def _examples(cases: pd.DataFrame, seed: int) -> Table:
    """A few of each class at random, so that they are what the class is like."""
    drawn = [
        found.sample(min(EXAMPLES, len(found)), random_state=seed).sort_index()
        for found in (cases[cases["class"] == name] for name in CLASSES)
    ]
    chosen = pd.concat(drawn)
    shown = chosen.assign(
        **{
            column: chosen[column].str.replace("\n", LINE_BREAK)
            for column in ("attended", "excerpt")
        }
    )
    columns = {"class": "class", "excerpt": "text, and the next token"}
    columns |= {"attended": "attends to", "loss_change": "change of loss"}
    return from_frame(shown, columns, n_text=3)
