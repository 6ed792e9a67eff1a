"""What each command prints when it is done: one screen, and what to do next."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from features.cards.shown import short, with_interval
from lm.errors import UsageError
from ordinal.printed.scorecard import print_claims
from ordinal.printed.tables import intervals, print_json, print_table
from ordinal.run_folder import Run, open_run

if TYPE_CHECKING:
    from ordinal.sweep import Sweep

Q_VALUES = ("q_value", "q_held_out")


def print_heads(target: str, numbers: tuple[int, int], top: int, as_json: bool) -> None:
    """Score the heads of a model, or of a run as its step, and print the best."""
    from ordinal.steps import run_step
    from ordinal.steps.scanning import scan

    if (Path(target) / "config.yaml").is_file() or target.endswith((".yaml", ".yml")):
        run = open_run(target)
        run_step(run, "heads")
        table, choice = run.table("heads"), run.head
    else:
        table, choice = scan(target, numbers)
    if as_json:
        print_json("heads", table)
        return
    best = table.head(top)
    shown = best.assign(interval=intervals(best, "score", "score_low", "score_high"))
    columns = {"layer": "layer", "head": "head", "interval": "score [95%]", "pooled": "pooled"}
    columns |= {"all_spellings": "all spellings", "n_tokens": "tokens"}
    print_table(shown, columns, f"successor score of {len(table)} heads: {target}")
    held_out = with_interval(choice.score, choice.low, choice.high)
    print(f"Best on half of the elements: L{choice.layer}H{choice.head}; on the other half it has")
    print(
        f"{held_out}, the next {choice.runner_up_score:.2f}, guessing {choice.chance:.2f} "
        f"({choice.n_tokens} tokens)."
    )


def print_frontier(
    sweep: "Sweep", frontier: pd.DataFrame, members: pd.DataFrame, as_json: bool
) -> None:
    """What each cell of a sweep keeps, the recommendation, and what to type next."""
    from ordinal.sweep import recommendation

    if as_json:
        print_json("frontier", frontier)
        return
    mark = frontier["recommended"].map({True: "*", False: ""})
    shown = frontier.assign(
        value=mark + frontier[sweep.setting].map("{:g}".format),
        dead=frontier["dead"].round().astype(int),
        fitted=[short(share, 3) for share in frontier["preserved_fitted"]],
        kept=intervals(frontier, "preserved", "preserved_low", "preserved_high", 3),
        shifted=[short(share, 3) for share in frontier["control_shifted"]],
    )
    columns = {"value": sweep.setting, "latents": "latents", "l0": "active", "dead": "dead"}
    columns |= {"fvu_held_out": "FVU\nheld out", "fitted": "kept\nfitted"}
    columns |= {"kept": "kept\nheld out [95%]", "shifted": "control\nshifted"}
    n, m = frontier["n_tokens"].iloc[0], frontier["control_m"].iloc[0]
    print_table(shown, columns, f"{sweep.folder.name}: what reconstructions keep of succession")
    key = (
        "active: latents on a token (L0); dead: on none. FVU: variance unexplained. kept: the "
        f"head's successor score when it reads reconstructions, of fitted tokens and of {n} held "
        f"out (M(t) itself: {short(m, 3)}). shifted: when it reads M(t) off by as much, along the "
        "difference of two random tokens of the task. *: recommended."
    )
    for line in [key, *recommendation(frontier, members)]:
        print(textwrap.fill(line, 80, break_on_hyphens=False))
    best = frontier.loc[frontier["recommended"]].iloc[0]
    print(f"Look:   {sweep.folder / 'frontier.html'}")
    print(f"Tables: {sweep.folder}/ (frontier.parquet, members.parquet)")
    print(f"Next:   ordinal features {sweep.folder / best['cell']}")
    chosen = f"sae.{sweep.setting}={best[sweep.setting]:g} sae.latents={best['latents']}"
    print(f"        ordinal run {sweep.command} {chosen}")


def print_features(run: Run, top: int, as_json: bool, label: str = "", sort: str = "label") -> None:
    """The catalog's labelled features: of one kind, in the order of one column.

    Where the kind is a whole label, as `mod10/3`, its card comes first.

    Raises:
        UsageError: there is no such column, or no label of this kind.
    """
    table = run.catalog.features
    if sort not in table:
        raise UsageError(f"--sort {sort}: no such column. There are: {', '.join(table.columns)}.")
    labelled = table[table["label"] != "neither"]
    whole = labelled["label"] == label  # mod20/1 is not mod20/10
    if label:
        labelled = labelled[whole if whole.any() else labelled["label"].str.startswith(label)]
        if labelled.empty:
            kinds = sorted(set(table["label"].str.split("/").str[0]) - {"neither"})
            raise UsageError(f"--label {label}: no feature has it. There are: {', '.join(kinds)}.")
    rising = not pd.api.types.is_float_dtype(table[sort]) or sort.startswith(("p_", "q_"))
    order = labelled.sort_values([sort, "label", "q_held_out"], ascending=[rising, True, True])
    if as_json:
        print_json("features", order if label else table)
        return
    if whole.any():
        print(f"{run.catalog[label]}\n")
    best, kind = order.head(top), f" {label}" if label else ""
    shown = best.assign(**{name: best[name].map("{:.1g}".format) for name in Q_VALUES})
    columns = {"label": "label", "member": "member", "index": "latent", "q_value": "q"}
    columns |= {"r2_held_out": "R2", "q_held_out": "q\nheld out", "n_tokens": "n"}
    columns |= {"stability": "stable"}
    print_table(shown, columns, f"{len(labelled)} of {len(table)} latents have a label{kind}")
    key = (
        "q: the family's best score is reached by permuted tokens (fitted ones), corrected over "
        "latents and families. R2, q, n held out: variance that the label predicts on tokens that "
        "the SAE never saw, permutations of these, and their number. stable: best cosine in other "
        "seeds."
    )
    print(textwrap.fill(key, 80))


def print_summary(run: Run) -> None:
    """The claims and the paths."""
    print_claims(run, as_json=False)
    print(f"Look:   {run.folder / 'report.html'}")
    print(f"Take:   ordinal export {run.folder}")
    print(f"Tables: {run.folder}/ (features.parquet, verification/, summary.json)")


def print_next(run: Run, step: str) -> None:
    """What to type next."""
    print(f"Next: ordinal {step} {run.folder}")
