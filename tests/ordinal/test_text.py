"""What a run says about natural text: in its tables, in print, and in the report."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lm.bridged import BridgedModel
from lm.errors import OrdinalError
from lm.open import open_model
from ordinal.config import parse_config
from ordinal.printed.text import print_text
from ordinal.report.page import HERE
from ordinal.report.text import text
from ordinal.run_folder import Run
from ordinal.steps.reading import TABLES, study_text
from tests.ordinal.test_report import Page

HEAD = {"layer": 1, "head": 0, "score": 1.0, "low": 0.97, "high": 1.0, "runner_up_layer": 1}
HEAD |= {"runner_up_head": 3, "runner_up_score": 0.2, "chance": 0.1, "n_tokens": 346}
HEADINGS = "{% from 'macros.html' import table, untestable %}{% include 'text.html' %}"


@pytest.fixture(scope="module")
def counting() -> BridgedModel:
    model = open_model("counting", "bridged")
    assert isinstance(model, BridgedModel)
    return model


def a_run(folder: Path, **verify) -> Run:
    """A run of which nothing is done but the choice of its head."""
    folder.mkdir(parents=True)
    (folder / "head.json").write_text(json.dumps(HEAD))
    return Run(folder, parse_config({"model": "counting", "verify": verify}, "test"))


@pytest.fixture(scope="module")
def studied(counting: BridgedModel, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = a_run(tmp_path_factory.mktemp("text") / "run", text_contexts=16)
    study_text(run, counting)
    return run


def section(run: Run) -> Page:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return Page(environment.from_string(HEADINGS).render(text=text(run)))


def test_shares_are_printed_with_interval_control_and_n(studied: Run, capsys) -> None:
    print_text(studied)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert max(map(len, lines)) <= 80
    shares = studied.table("text_shares").set_index(["role", "among", "class"])
    wins = shares.loc["successor head", "wins", "succession"]
    succession = next(line for line in lines if "succession" in line)
    assert f"{wins['share']:.2f}".lstrip("0") in succession
    assert not succession.endswith("NO")
    assert f"{wins['n']:.0f} wins" in lines[1]
    assert lines[-1].startswith("lists: L1H0 wins 1.0 [.94,1.0] of 64 prompts (L1H3 .00")


def test_succession_that_is_not_above_chance_is_marked(studied: Run, tmp_path: Path, capsys):
    run = Run(Path(shutil.copytree(studied.folder, tmp_path / "run")), studied.config)
    shares = run.table("text_shares")
    shares.loc[shares["class"] == "succession", "permuted_95"] = 0.9
    shares.to_parquet(run.verification / "text_shares.parquet")
    print_text(run)
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if "succession" in line).endswith("NO")
    assert "not shown to be above chance" in section(run).words


def test_a_head_that_never_wins_has_no_shares(studied: Run, tmp_path: Path, capsys) -> None:
    run = Run(Path(shutil.copytree(studied.folder, tmp_path / "run")), studied.config)
    shares = run.table("text_shares")
    never = (shares["role"] == "random head") & (shares["among"] == "wins")
    measured = [name for name in shares if shares[name].dtype == float]
    shares.loc[never, measured] = float("nan")
    shares.loc[never, ["n", "n_contexts"]] = 0
    shares.to_parquet(run.verification / "text_shares.parquet")
    print_text(run)
    rows = capsys.readouterr().out.splitlines()[2:7]
    assert all(row.endswith("-") for row in rows)
    assert "nan" not in section(run).words


def test_the_report_says_what_the_tables_say_and_shows_cases(studied: Run) -> None:
    page = section(studied)
    shares = studied.table("text_shares")
    for row in shares[shares["among"].isin(["wins", "losses", "lists"])].to_dict("records"):
        shown = f"{row['share']:.2f} [{row['share_low']:.2f}, {row['share_high']:.2f}]"
        assert shown in page.words
    assert "fresh documents of the embedded model" in page.words
    wins = studied.table("text_cases").query("outcome == 'win' and `class` == 'succession'")
    shown = wins["excerpt"].str.replace("\n", "↵")
    assert sum(excerpt in page.words for excerpt in shown) == 5
    assert "<|endoftext|>" in page.words  # as words, not as an element
    assert not any("endoftext" in tag for tag, _ in page.elements)


def test_without_a_text_the_tables_are_empty_and_say_why(
    checkpoint, tmp_path: Path, capsys
) -> None:
    model = open_model(str(checkpoint("gpt2")), "bridged")
    assert isinstance(model, BridgedModel)
    run = a_run(tmp_path / "run")
    study_text(run, model)
    for name in TABLES:
        table = run.table(name)
        assert len(table) == 0 and "class" in table
        assert "--set verify.text=FILE" in table.attrs["not_testable"]
    print_text(run)
    out = capsys.readouterr().out
    assert out.startswith("in text: not testable") and "verify.text=FILE" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "Not testable." in section(run).words


def test_a_text_file_is_read_in_place_of_the_default(
    counting: BridgedModel, tmp_path: Path
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("".join(f"\n{n}. apple river" for n in range(1, 200)))
    run = a_run(tmp_path / "run", text=str(file), text_contexts=4)
    study_text(run, counting)
    cases, shares = run.table("text_cases"), run.table("text_shares")
    assert shares.attrs["source"] == str(file)
    assert cases["context"].max() <= 3
    wins = shares.set_index(["role", "among", "class"]).loc["successor head", "wins", "succession"]
    assert wins["share_low"] > wins["permuted_95"]
    pairs = cases[(cases["outcome"] == "win") & (cases["class"] == "succession")]
    assert pairs["next"].str.fullmatch(r"\d+").all()


def test_a_text_that_is_not_there_is_named(counting: BridgedModel, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", text=str(tmp_path / "no-such-file.txt"))
    with pytest.raises(OrdinalError, match=r"no-such-file\.txt: there is no such file"):
        study_text(run, counting)
    assert not run.verification.exists()


def test_the_same_run_gives_the_same_tables(
    studied: Run, counting: BridgedModel, tmp_path: Path
) -> None:
    again = a_run(tmp_path / "run", text_contexts=16)
    study_text(again, counting)
    for name in TABLES:
        pd.testing.assert_frame_equal(again.table(name), studied.table(name))
