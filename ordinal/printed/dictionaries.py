"""What `ordinal baselines` prints: each dictionary, and where the SAE is not better."""

import textwrap

import pandas as pd

from features.cards.shown import short
from ordinal.printed.tables import print_json, print_table
from ordinal.run_folder import Run
from training.baselines import TOP_K_SAE

COMPARED = {
    "residues": "residues",
    "numbers": "edits of numbers",
    "words": "edits of words",
}
"""What has a paired difference to the SAE, and its name in a sentence."""


def print_dictionaries(run: Run, table: pd.DataFrame, as_json: bool) -> None:
    """The table, its key, and a line for each thing in which a baseline does as well."""
    if as_json:
        print_json("dictionaries", table)
        return
    modulus = run.config.features.modulus
    shown = pd.DataFrame(
        {
            "dictionary": table["dictionary"].str.replace(" ", "\n", n=1),
            "l0": table["l0"].map("{:.1f}".format),
            "fvu": [short(value) for value in table["fvu_held_out"]],
            "residues": _cells(table, "residues", count=True),
            "held_out": _cells(table, "held_out"),
            "numbers": _cells(table, "numbers"),
            "words": _cells(table, "words"),
            "left": _cells(table, "left"),
        }
    )
    columns = {"dictionary": "dictionary", "l0": "L0", "fvu": "FVU"}
    columns |= {"residues": f"residues\nof {modulus}", "held_out": "held out\nmin(P, R)"}
    columns |= {"numbers": "edits:\nnumbers", "words": "edits:\nwords", "left": "left by\nablation"}
    print_table(shown, columns, f"{run.folder.name}: does the SAE earn its place?")
    lines = [_key(table, modulus), *_comparison(table, "gain", "SAE")]
    if (table["dictionary"] == TOP_K_SAE).any():
        lines += _comparison(table, "top_k_gain", TOP_K_SAE)
    for line in lines:
        print(textwrap.fill(line, 80, break_on_hyphens=False))
    print(f"Table: {run.verification / 'dictionaries.parquet'}")


def _cells(table: pd.DataFrame, name: str, count: bool = False) -> list[str]:
    """The value above its interval; a star where it is not shown to be below the first row's."""
    level = f"{name}_gain_high"
    cells = []
    for at, row in enumerate(table.to_dict("records")):
        if pd.isna(row[name]):
            cells.append("-")
            continue
        value, low, high = (
            f"{row[part]:.1f}".removesuffix(".0") if count else short(row[part])
            for part in (name, f"{name}_low", f"{name}_high")
        )
        star = "*" if at and name in COMPARED and row[level] >= 0 else ""
        cells.append(f"{value}{star}\n[{low},{high}]")
    return cells


def _key(table: pd.DataFrame, modulus: int) -> str:
    first = table.iloc[0]
    edits = table[["numbers_random", "words_random"]].max().max()
    control = f"labels of moduli prime to {modulus}: at most {table['residues_control'].max():.1f}"
    return (
        f"Means over {first['members']} members, 95% intervals below (over members for the first "
        "two, else over elements). L0: latents active on a token. FVU: variance unexplained, held-"
        "out tokens. residues: those with a latent of that tested label "
        f"({control}). held out: the worse "
        f"of precision and recall (chance {short(1 / modulus)}, n {first['held_out_n']}). edits: "
        "share that give exactly the edited successor (random vectors: at most "
        f"{short(edits)}; n {first['numbers_n']} and {first['words_n']} tokens). left: of "
        "succession when the directions are removed (random ones of the same variance leave "
        f"{short(table['left_random'].min())} or more, n {first['left_n']}). *: not shown to be "
        f"below the SAE. `{TOP_K_SAE}` and those below it keep the {round(first['l0'])} largest "
        "latents of a token; those above it are trained like the SAE, with the penalty that gives "
        "its L0."
    )


def _comparison(table: pd.DataFrame, column: str, name: str) -> list[str]:
    """For each thing compared: the baselines that beat one dictionary, and those that equal it."""
    rest = table[~table["dictionary"].isin(["SAE", name])]
    lines = [f"Against `{name}`, better or as good (n.s.), by paired differences:"]
    for figure, words in COMPARED.items():
        above = rest[f"{figure}_{column}_low"] > 0
        level = ~above & (rest[f"{figure}_{column}_high"] >= 0)
        found = [*rest.loc[above, "dictionary"], *(rest.loc[level, "dictionary"] + " (n.s.)")]
        lines.append(f"- {words}: {', '.join(found) or 'none'}.")
    return lines
