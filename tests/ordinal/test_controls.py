"""What a run says about its head's other behaviours, on a planted checkpoint."""

import shutil
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lm.bridged import BridgedModel
from lm.open import open_model
from ordinal.printed.controls import print_controls
from ordinal.report import page
from ordinal.report.controls import controls
from ordinal.run_folder import Run
from ordinal.steps.controls import TABLES, study_head
from ordinal.steps.patching import residue_directions
from tests.ordinal.test_report import Page


def copied(run: Run, folder: Path) -> Run:
    skipped = shutil.ignore_patterns("wandb", "*.html")
    return Run(Path(shutil.copytree(run.folder, folder, ignore=skipped)), run.config)


@pytest.fixture(scope="module")
def studied(finished: Run, tmp_path_factory) -> Run:
    run = copied(finished, tmp_path_factory.mktemp("studied") / "run")
    bridged = open_model(run.config.model, route="bridged")
    assert isinstance(bridged, BridgedModel)
    study_head(run, open_model(run.config.model), bridged, residue_directions(run))
    return run


def rendered(run: Run) -> str:
    environment = Environment(
        loader=FileSystemLoader(page.HERE), autoescape=True, undefined=StrictUndefined
    )
    section = '{% from "macros.html" import table %}{% include "controls.html" %}'
    filled = environment.from_string(section).render(controls=controls(run), fitted="fitted")
    return Page(filled).words


def test_the_planted_run_dissociates_and_its_head_only_counts(studied: Run, planted) -> None:
    truth = planted[1]
    heads = studied.table("head_roles").set_index(["role", "readout"])
    chosen = heads.loc["successor head", "units right"]
    assert (chosen["layer"], chosen["head"]) == (truth.layer, truth.head)
    assert chosen["value"] == 1
    assert heads.loc["runner-up", "units right"]["difference_high"] < -0.5
    contrasts = studied.table("dissociation_contrasts")
    crossed = contrasts[~contrasts["less"].str.startswith("random")]
    means = crossed[crossed["directions"] == "class means"]
    assert len(means) == 2
    assert (means["low"] > 0).all()
    behaviours = studied.table("behaviours")
    every = behaviours[(behaviours["task"] == "all") & (behaviours["role"] == "successor head")]
    assert set(every.loc[every["p_value"] < 0.05, "behaviour"]) == {"succession"}


def test_every_table_has_an_interval_a_control_and_n(studied: Run) -> None:
    for name in TABLES:
        table = studied.table(name)
        assert len(table)
        assert (table["n_tokens"] > 0).all()
        value = next(c for c in ("score", "auc", "value") if c in table)
        low, high = ("low", "high") if value == "value" else (f"{value}_low", f"{value}_high")
        assert (table[low] <= table[value] + 1e-9).all()
        assert (table[value] <= table[high] + 1e-9).all()
    for name in ("behaviours", "greater_than", "dissociation", "head_roles"):
        assert studied.table(name)["chance"].between(0, 1).all()


def test_what_is_found_is_printed_in_twelve_lines(studied: Run, capsys) -> None:
    print_controls(studied)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 12
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for part in ("times the next", "chance", "permuted 95%", "double dissociation", "sequences"):
        assert part in text
    assert lines[-1].endswith(": NO")  # random heads are no induction heads


def test_the_section_shows_the_figures_of_the_tables(studied: Run) -> None:
    words = rendered(studied)
    row = studied.table("dissociation").iloc[0]
    assert f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" in words
    assert "not shown to have an induction head" in words
    assert "Not testable" not in words


def test_without_residues_and_without_attention_the_rest_is_still_told(
    finished: Run, tmp_path: Path, capsys
) -> None:
    run = copied(finished, tmp_path / "run")
    run.catalog.metadata["not_testable"] = "no numbers"
    study_head(run, open_model(run.config.model), None, [])
    assert run.table("dissociation").empty
    assert run.table("dissociation_contrasts").empty
    assert set(run.table("greater_than")["reading"]) == {"head", "W_E + M(t) without head"}
    print_controls(run)
    out = capsys.readouterr().out
    assert "not testable without residues" in out
    assert "induction" not in out
    words = rendered(run)
    assert "Not testable" in words
    assert "was not looked for" in words
