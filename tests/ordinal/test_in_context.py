"""What a run says about its head in context: tables, the report's section, and ten lines."""

import base64
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jinja2 import ChoiceLoader, DictLoader, Environment, FileSystemLoader, StrictUndefined

from eval.heads.successor import HeadChoice
from eval.patching.operators import Add, Operator, Replace
from features.directions import class_mean_directions
from lm.bridged import BridgedModel
from lm.files import write_parquet
from lm.open import open_model
from lm.ordinals import load_tasks, ordinal_tokens
from lm.planted import plant
from ordinal.config import parse_config
from ordinal.figures.context import PATHS
from ordinal.printed.context import print_context
from ordinal.report.context import in_context
from ordinal.report.page import HERE, plot
from ordinal.run_folder import Run, make_run
from ordinal.steps.in_context import TABLES, study_context
from tests.ordinal.test_report import Page
from training.harvest import harvest


def _run(folder: Path, model: BridgedModel, name: str, layer: int, head: int, other: int) -> Run:
    """A run as far as its head and activations."""
    run = make_run(folder, parse_config({"model": name}, "test"))
    tokens = ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 199)))
    harvest(model, tokens).save(run.folder / "activations.safetensors")
    choice = HeadChoice(layer, head, 1, 1, 1, layer, other, 0, 0, 0)
    run.write_json("head.json", choice._asdict())
    return run


def _operators(run: Run) -> list[Operator]:
    sets = class_mean_directions(run.activations, 10)[:2]
    return [kind(directions, run.activations) for directions in sets for kind in (Add, Replace)]


@pytest.fixture(scope="module")
def counting() -> BridgedModel:
    model = open_model("counting", "bridged")
    assert isinstance(model, BridgedModel)
    return model


@pytest.fixture(scope="module")
def studied(counting, tmp_path_factory) -> Run:
    run = _run(tmp_path_factory.mktemp("studied"), counting, "counting", 1, 0, 3)
    study_context(run, counting, _operators(run))
    return run


def rendered(run: Run) -> Page:
    page = '{% from "macros.html" import table, untestable %}{% include "context.html" %}'
    loader = ChoiceLoader([DictLoader({"page": page}), FileSystemLoader(HERE)])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters["plot"] = plot
    features = {"not_testable": "modulus 10 is not testable"}
    return Page(
        environment.get_template("page").render(in_context=in_context(run), features=features)
    )


def test_at_most_ten_lines_each_figure_with_control_interval_and_n(studied, capsys) -> None:
    print_context(studied)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 10
    assert all(len(line) <= 80 for line in lines)
    table = studied.table("in_context").set_index(["family", "task"])
    for family in ("lists", "sequences", "statements", "numbered lists"):
        line = next(line for line in lines if line.startswith(family))
        assert line.count("[") == 3
        assert line.endswith(str(table.loc[(family, "all"), "n_tokens"]))
    edits = next(line for line in lines if line.startswith("add, class means"))
    assert edits.count("[") == 3
    assert not any(line.endswith("NO") for line in lines)


def test_a_figure_that_is_not_above_its_control_says_no(studied, tmp_path, capsys) -> None:
    folder = tmp_path / "run"
    other = Run(folder, studied.config)
    table, edits = studied.table("in_context"), studied.table("context_edits")
    table["ablated_accuracy_high"] = 0.99
    edits["random_value_total_high"] = 0.99
    other.verification.mkdir(parents=True)
    table.to_parquet(other.verification / "in_context.parquet")
    edits.to_parquet(other.verification / "context_edits.parquet")
    print_context(other)
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.endswith("NO") for line in lines) == 4 + 2
    assert all(len(line) <= 80 for line in lines)


def test_the_section_shows_the_tables_own_values(studied) -> None:
    page = rendered(studied)
    every = studied.table("in_context").query("task == 'all'")
    effects, paths = page.figures
    drawn = {trace["name"]: trace["x"] for trace in effects["data"]}
    assert list(_values(drawn["direct"])) == pytest.approx(every["direct"].tolist())
    assert list(_values(drawn["in total"])) == pytest.approx(every["total"].tolist())
    edits = studied.table("context_edits").query("task == 'all' and family == 'all'")
    shown = [list(_values(trace["x"])) for trace in paths["data"]]
    assert shown[:3] == [pytest.approx(edits[path].tolist()) for path in PATHS]
    assert "In 4 of 4 families the model is right less often without the head" in page.words
    for template in every["templates"].str.split(" | ", regex=False).explode():
        assert template.replace("\n", "↵") in page.words


def _values(coded) -> list[float]:
    """Plotly writes arrays as base64."""
    if isinstance(coded, dict):
        return np.frombuffer(base64.b64decode(coded["bdata"]), coded["dtype"]).tolist()
    return coded


def test_without_operators_there_are_no_edits_and_the_reason_stands_there(
    counting, tmp_path, capsys
) -> None:
    run = _run(tmp_path / "run", counting, "counting", 1, 0, 3)
    study_context(run, counting, [])
    assert run.table("context_edits").empty
    print_context(run)
    assert "edits in context" not in capsys.readouterr().out
    assert "modulus 10 is not testable" in rendered(run).words


def test_a_head_of_the_first_layer_is_studied_without_edits(counting, tmp_path) -> None:
    run = _run(tmp_path / "run", counting, "counting", 0, 1, 2)
    study_context(run, counting, _operators(run))
    assert run.table("context_edits").empty
    assert run.table("in_context")["ablated_accuracy"].notna().all()
    assert "the head is in the first layer" in rendered(run).words


def test_a_model_that_cannot_be_asked_says_why(tmp_path, capsys) -> None:
    truth = plant(tmp_path / "model", seed=0)
    model = open_model(str(tmp_path / "model"), "bridged")
    assert isinstance(model, BridgedModel)
    name, other = str(tmp_path / "model"), truth.head - 1
    run = _run(tmp_path / "run", model, name, truth.layer, truth.head, other)
    study_context(run, model, _operators(run))
    print_context(run)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all("not asked in" in line and len(line) <= 80 for line in lines)
    assert "the tokenizer does not know" in rendered(run).words


def test_a_run_that_was_not_studied_in_context_says_why(studied, tmp_path, capsys) -> None:
    run, nothing = Run(tmp_path, studied.config), pd.DataFrame()
    nothing.attrs["not_testable"] = "no prompt was run"
    for name in TABLES:
        write_parquet(nothing, run.verification / f"{name}.parquet")
    print_context(run)
    assert capsys.readouterr().out == "in context: not testable, no prompt was run\n"
    assert "Not testable. no prompt was run" in rendered(run).words


def test_every_figure_lies_in_its_interval_and_counts_fit(studied) -> None:
    for name, figures in (
        ("in_context", ("accuracy", "ablated_accuracy", "margin", "direct", "total", "attention")),
        ("context_edits", (*PATHS, "weights", "clean", *(f"random_{path}" for path in PATHS))),
    ):
        table: pd.DataFrame = studied.table(name)
        several = table[table["n_tokens"] > 3]
        for figure in figures:
            assert (several[f"{figure}_low"] <= several[figure] + 1e-9).all()
            assert (several[figure] <= several[f"{figure}_high"] + 1e-9).all()
        assert (table["n_tokens"] <= table["n_prompts"]).all()
