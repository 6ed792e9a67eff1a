"""`ordinal bench discovery`: trials are kept, and never done twice."""

import json
from pathlib import Path

import pandas as pd
import pytest

from eval.dictionaries.trials import DIALS, SCRAMBLED, all_trials
from ordinal.bench import Bench
from ordinal.printed.bench import print_bench
from tests.ordinal.test_cli import one_line, ordinal


def test_negatives_are_run_kept_and_not_run_again(tmp_path: Path, capsys) -> None:
    out = tmp_path / "bench"
    command = ("bench", "discovery", "--draws", "0", "--runs", "1", "--out", out)
    assert ordinal(*command, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows["planted"] == []
    assert [row["kind"] for row in rows["negatives"]] == list(SCRAMBLED)
    assert all(row["runs"] == 1 and row["latents"] > 0 for row in rows["negatives"])
    written = (out / "trials.parquet").stat().st_mtime_ns
    assert ordinal(*command) == 0
    assert (out / "trials.parquet").stat().st_mtime_ns == written
    printed = capsys.readouterr().out
    assert "discovery.html" in printed
    assert max(map(len, printed.replace(str(out), "").splitlines())) <= 80


def test_a_count_that_makes_no_sense_is_one_line(tmp_path: Path, capsys) -> None:
    for counts in (("0", "0"), ("-1", "3")):
        command = ("bench", "discovery", "--draws", counts[0], "--runs", counts[1])
        assert ordinal(*command, "--out", tmp_path / "bench") == 2
        assert "--draws 3 --runs 20" in one_line(capsys)


@pytest.fixture
def outcomes(tmp_path: Path) -> Bench:
    """Made-up outcomes of one draw: at the largest noise nothing is recovered."""
    trials = [trial for trial in all_trials(1, 0)]
    names = [f"mod10/{r}" for r in range(10)] + ["task/numbers"]
    directions = pd.DataFrame(
        [
            {
                **trial._asdict(),
                "direction": name,
                "family": name.split("/")[0],
                "by": by,
                "recovered": bool(by),
                "cosine": 0.9 if by else float("nan"),
                "cosine_contrast": 0.95 if by else float("nan"),
                "cosine_random": 0.3,
            }
            for trial in trials
            for name in names
            for by in [
                ""
                if trial.value == max(DIALS["noise"])
                else "bias"
                if name == "task/numbers"
                else "latent"
            ]
        ]
    )
    labels = directions.loc[directions["by"] == "latent", [*trials[0]._fields, "direction"]]
    labels = labels.rename(columns={"direction": "label"}).assign(member=0, right=True)
    about = pd.DataFrame(trials).assign(labels=10, n_latents=64, labels_unscrambled=float("nan"))
    return Bench(tmp_path, about, directions, labels)


def test_planted_outcomes_fit_a_terminal_and_a_page(outcomes: Bench, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_bench(outcomes, as_json=False)
    printed = capsys.readouterr().out
    assert max(map(len, printed.replace(str(outcomes.folder), "").splitlines())) <= 80
    assert "without a latent of their own: task/numbers (in the bias)" in " ".join(printed.split())
    assert "mod10 100%" in printed  # what the largest noise loses
    page = (outcomes.folder / "discovery.html").read_text()
    assert page.count('class="plot"') == 1
