"""What a run says about natural text: in its tables, in print, and in the report."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from eval.patching.lesions import MATCHED
from eval.scorecard.claim import interval, row
from eval.scorecard.specificity import specificity_claim
from eval.text.losses import ORDINAL, OTHER
from features.cards.shown import short, with_interval
from features.directions import ResidueDirections, class_mean_directions
from lm.bridged import BridgedModel
from lm.errors import OrdinalError
from lm.open import open_model
from lm.ordinals import load_tasks, ordinal_tokens
from ordinal.config import parse_config
from ordinal.printed.text import print_text
from ordinal.report.page import HERE
from ordinal.report.text import text
from ordinal.run_folder import Run
from ordinal.steps.reading import TABLES, study_text
from tests.ordinal.test_report import Page
from training.activations import Activations
from training.harvest import harvest

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
def directions(counting: BridgedModel) -> list[ResidueDirections]:
    return class_mean_directions(activations(counting), 10)


def activations(counting: BridgedModel) -> Activations:
    tokens = ordinal_tokens(counting.tokenizer, load_tasks(numbers=(0, 200)))
    return harvest(counting, tokens)


@pytest.fixture(scope="module")
def studied(
    counting: BridgedModel,
    directions: list[ResidueDirections],
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    run = a_run(tmp_path_factory.mktemp("text") / "run", text_contexts=16, random_subspaces=5)
    activations(counting).save(run.folder / "activations.safetensors")
    study_text(run, counting, [directions])
    return run


def section(run: Run) -> Page:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return Page(environment.from_string(HEADINGS).render(text=text(run)))


def test_shares_are_printed_with_interval_control_and_n(studied: Run, capsys) -> None:
    print_text(studied)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert max(map(len, lines)) <= 80
    shares = studied.table("text_shares").set_index(["role", "among", "class"])
    wins = shares.loc["successor head", "wins", "succession"]
    succession = next(line for line in lines if "succession" in line)
    assert f"{wins['share']:.2f}".lstrip("0") in succession
    assert not succession.endswith("NO")
    assert f"{wins['n']:.0f} wins" in lines[1]
    assert lines[7].startswith("lists: L1H0 wins 1.0 [.94,1.0] of 64 prompts (L1H3 .00")


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
    for found in shares[shares["among"].isin(["wins", "losses", "lists"])].to_dict("records"):
        shown = f"{found['share']:.2f} [{found['share_low']:.2f}, {found['share_high']:.2f}]"
        assert shown in page.words
    assert "fresh documents of the embedded model" in page.words
    wins = studied.table("text_cases").query("outcome == 'win' and `class` == 'succession'")
    shown = wins["excerpt"].str.replace("\n", "↵")
    assert sum(excerpt in page.words for excerpt in shown) == 5
    assert "<|endoftext|>" in page.words  # as words, not as an element
    assert not any("endoftext" in tag for tag, _ in page.elements)


def test_losses_without_the_residues_are_shown_with_control_interval_and_n(
    studied: Run, capsys
) -> None:
    losses = studied.table("text_losses")
    print_text(studied)
    printed = " ".join(capsys.readouterr().out.split("without mod-10")[1].split())
    words = section(studied).words
    for positions in (ORDINAL, OTHER):
        mine = row(losses, removed="mod-10", positions=positions)
        random = row(losses, removed=MATCHED, positions=positions)
        rise = with_interval(*interval(mine, "change"))
        assert f"{positions} {rise} (random {short(random['change'])}, " in printed
        assert f"n {mine['n_positions']:,})" in printed
        assert f"{mine['loss_after']:.2f}" in words
    found = row(losses, removed="mod-10", positions=ORDINAL)
    value, low, high = interval(found, "specificity")
    assert f"{value:.2f} [{low:.2f}, {high:.2f}]" in words


def test_without_directions_there_is_nothing_to_remove(
    counting: BridgedModel, tmp_path: Path, capsys
) -> None:
    run = a_run(tmp_path / "run", text_contexts=4)
    study_text(run, counting, [])
    losses = run.table("text_losses")
    assert losses.empty and "residues are not testable" in losses.attrs["not_testable"]
    assert specificity_claim(losses, "SAE", 10).verdict == "not testable"
    print_text(run)
    assert "rise of loss" not in capsys.readouterr().out
    assert "residues are not testable" in section(run).words


def test_without_a_text_the_tables_are_empty_and_say_why(
    checkpoint, tmp_path: Path, capsys
) -> None:
    model = open_model(str(checkpoint("gpt2")), "bridged")
    assert isinstance(model, BridgedModel)
    run = a_run(tmp_path / "run")
    study_text(run, model, [])
    for name in TABLES:
        table = run.table(name)
        assert len(table) == 0 and {"class", "removed"} & set(table)
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
    study_text(run, counting, [])
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
        study_text(run, counting, [])
    assert not run.verification.exists()


def test_the_same_run_gives_the_same_tables(
    studied: Run, counting: BridgedModel, directions: list[ResidueDirections], tmp_path: Path
) -> None:
    again = a_run(tmp_path / "run", text_contexts=16, random_subspaces=5)
    shutil.copy(studied.folder / "activations.safetensors", again.folder)
    study_text(again, counting, [directions])
    for name in TABLES:
        pd.testing.assert_frame_equal(again.table(name), studied.table(name))
