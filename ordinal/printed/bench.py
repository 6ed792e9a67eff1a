"""What `ordinal bench discovery` prints and draws."""

import json
import textwrap
from pathlib import Path

import pandas as pd

from features.cards.shown import short, with_interval
from lm.files import replacing
from ordinal.bench import Bench
from ordinal.printed.tables import intervals, print_table

_PLANTED = {"setting": "setting", "recall": "recall", "precision": "precision"}
_PLANTED |= {"cosine": "cosine", "random": "random", "n": "n", "missed": "missed"}
_NEGATIVE = {"kind": "negative", "families": "families", "any": "runs with a label"}
_NEGATIVE |= {"labels": "labels", "latents": "of latents", "runs": "runs"}


def print_bench(bench: Bench, as_json: bool) -> None:
    """Both tables, what they mean, and where the page is."""
    from eval.dictionaries.trial_tables import negatives_table, planted_table

    planted = planted_table(bench.directions, bench.labels)
    negative = negatives_table(bench.trials)
    if as_json:
        tables = {"planted": planted, "negatives": negative}
        rows = {name: json.loads(str(t.to_json(orient="records"))) for name, t in tables.items()}
        print(json.dumps(rows))
        return
    if len(planted):
        print_table(planted_cells(planted), _PLANTED, "Planted features, recovered without a hint")
    if len(negative):
        print_table(negative_cells(negative), _NEGATIVE, "Labels where there is nothing to find")
    for line in lines(bench, planted):
        print(textwrap.fill(line, 80, break_on_hyphens=False))
    print(f"Figure: {write_page(bench, planted, negative)}")


def planted_cells(planted: pd.DataFrame) -> pd.DataFrame:
    """For reading: shares with intervals, in the order in which they were asked for."""
    cells = pd.DataFrame(
        {name: _shares(planted, name) for name in ("recall", "precision")}, index=planted.index
    )
    return cells.assign(
        setting=[
            name if name == "reference" else f"{name} {value:g}"
            for name, value in zip(planted["dial"], planted["value"], strict=True)
        ],
        cosine=[short(value) for value in planted["least_contrast"]],
        random=[short(value) for value in planted["cosine_random"]],
        n=planted["n"],
        missed=planted["missed"],
    )


def negative_cells(negative: pd.DataFrame) -> pd.DataFrame:
    """For reading."""
    return negative.assign(any=_shares(negative, "any"))


def _shares(table: pd.DataFrame, name: str) -> list[str]:
    return intervals(table, name, f"{name}_low", f"{name}_high")


def lines(bench: Bench, planted: pd.DataFrame) -> list[str]:
    """What the tables mean, and what they do not show."""
    from eval.dictionaries.trials import MEMBERS
    from lm.planted import REFERENCE as DIALS

    out = []
    if len(planted):
        first = planted.iloc[0]
        out.append(
            f"Reference: d_model {DIALS.d_model}, numbers 0-{DIALS.numbers} in two spellings and "
            f"seven tasks of words, mean |cosine| {DIALS.overlap}, noise {DIALS.noise:.0%} of the "
            f"variance; catalogs of {MEMBERS} SAEs at the default settings, {first['draws']} "
            "draws of everything. One dial turned at a time. n: planted directions; missed: those "
            "of each family. cosine: of contrasts f - mean f, the least of all recovered (raw, at "
            "the reference: mean "
            f"{short(first['cosine'])}). random: the best of as many random directions. Shares "
            "with 95% intervals (exact, over directions or distinct labels)."
        )
        at = bench.directions[bench.directions["dial"] == first["dial"]]
        by = at[at["value"] == first["value"]].groupby("by")["direction"].unique()
        without = [
            f"{', '.join(names)} ({'in the bias' if how == 'bias' else 'ordinal/shared'})"
            for how, names in by.items()
            if how in ("bias", "catalog")
        ]
        latents = with_interval(*(first[f"recall_latents{end}"] for end in ("", "_low", "_high")))
        out.append(f"By latents alone, recall at the reference is {latents} (n {first['n']}).")
        if without:
            out.append(
                f"Recovered there without a latent of their own: {'; '.join(without)}. The rules "
                "for these, and for members (half of them), were set after a first draw."
            )
        moved = bench.labels[bench.labels["dial"] == "modulus"]
        if len(moved):
            residues = moved[moved["label"].str.startswith("mod")]
            counts = residues["label"].str.split("/").str[0].value_counts()
            others = int(counts.drop("mod7", errors="ignore").sum())
            out.append(
                f"Planted modulus 7: {counts.get('mod7', 0)} latents labelled mod7, {others} "
                "labelled with another modulus."
            )
    control = bench.trials[bench.trials["labels_unscrambled"].notna()]
    if len(control):
        share = (control["labels_unscrambled"] > 0).mean()
        out.append(
            f"Control of the permuted indices: with them in place, {short(share)} of the same SAEs "
            f"have a label (n {len(control)})."
        )
    return out


def write_page(bench: Bench, planted: pd.DataFrame, negative: pd.DataFrame) -> Path:
    """Write `discovery.html`: the curves, and the tables below them."""
    from ordinal.figures.recovery import recovery_curves
    from ordinal.report.page import fill
    from ordinal.report.tables import from_frame

    path = bench.folder / "discovery.html"
    page = fill(
        "bench.html",
        figure=recovery_curves(planted) if len(planted) else None,
        planted=from_frame(planted_cells(planted), _PLANTED) if len(planted) else None,
        negatives=from_frame(negative_cells(negative), _NEGATIVE) if len(negative) else None,
        lines=lines(bench, planted),
    )
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path
