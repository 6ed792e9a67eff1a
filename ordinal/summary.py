"""What each command prints when it is done: one screen, and what to do next."""

from pathlib import Path

import pandas as pd

from lm.files import read_parquet
from ordinal.run import Run, open_run
from ordinal.tables import print_json, print_table, with_interval


def print_heads(target: str, numbers: tuple[int, int], top: int, as_json: bool) -> None:
    """Score the heads of a model, or of a run as its step, and print the best."""
    from ordinal.steps import run_step, scan

    if (Path(target) / "config.yaml").is_file() or target.endswith((".yaml", ".yml")):
        table = run_step(open_run(target), "heads")
        assert table is not None
    else:
        table, _ = scan(target, numbers)
    if as_json:
        print_json("heads", table)
        return
    shown = table.head(top).assign(
        interval=with_interval(table, "score", "score_low", "score_high")
    )
    columns = {"layer": "layer", "head": "head", "interval": "score [95%]", "pooled": "pooled"}
    columns |= {"all_spellings": "all spellings", "n_tokens": "tokens"}
    print_table(shown, columns, f"successor score of {len(table)} heads: {target}")


def print_features(run: Run, top: int, as_json: bool) -> None:
    """The catalog, most certain features first."""
    table = run.catalog.features
    if as_json:
        print_json("features", table)
        return
    labelled = table[table["label"] != "neither"].sort_values(["label", "q_value", "member"])
    columns = {
        "label": "label",
        "member": "member",
        "index": "latent",
        "precision": "precision",
        "recall": "recall",
        "q_value": "q",
        "stability": "stability",
    }
    print_table(
        labelled.head(top), columns, f"{len(labelled)} of {len(table)} latents have a label"
    )


def print_claims(run: Run, as_json: bool) -> None:
    """The scorecard."""
    claims = pd.DataFrame(run.read_json("summary.json")["claims"])
    if as_json:
        print_json("claims", claims)
        return
    shown = claims.assign(
        interval=with_interval(claims, "value", "low", "high"), n=claims["n"].astype(int)
    )
    columns = {"claim": "claim", "interval": "value [95%]", "control": "control"}
    print_table(shown, columns | {"n": "n", "verdict": "verdict"}, f"claims: {run.config.model}")


def print_summary(run: Run) -> None:
    """The claims, the best heads and the paths."""
    heads = read_parquet(run.verification / "heads.parquet").head(2)
    shown = heads.assign(interval=with_interval(heads, "score", "score_low", "score_high"))
    print_table(
        shown, {"layer": "layer", "head": "head", "interval": "score [95%]", "n_tokens": "n"}
    )
    print_claims(run, as_json=False)
    print(f"Look:   {run.folder / 'report.html'}")
    print(f"Take:   ordinal export {run.folder}")
    print(f"Read:   {run.folder / 'summary.json'}, {run.folder / 'features.parquet'}")


def print_next(run: Run, step: str) -> None:
    """What to type next."""
    print(f"Next: ordinal {step} {run.folder}")
