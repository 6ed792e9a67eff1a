"""What a run says about structure, on a planted checkpoint and on files that lack much."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from lm.files import write_parquet
from ordinal.report.page import render
from ordinal.run_folder import Run
from ordinal.steps.witnessing import TABLES
from tests.ordinal.test_cli import one_line, ordinal
from tests.ordinal.test_report import Page


def numbers_only(run: Run, path: Path, step: int) -> Path:
    """The run's activations of every number that `step` divides or leaves 1, and nothing else."""
    activations = run.activations
    table = activations.tokens.table
    rows = table[(table["task"] == "numbers") & (table["index"] % step < 2)]
    tokens = json.loads(rows[["text", "token_id", "task", "index"]].to_json(orient="records"))
    x = activations.x[torch.tensor(rows.index.to_numpy())]
    save_file({"activations": x.contiguous()}, path, {"tokens": json.dumps(tokens)})
    return path


def test_the_planted_residues_stand_out_in_every_table(finished: Run) -> None:
    tables = finished.structure_tables()
    assert tables["left_out"].empty
    fourier = tables["fourier"].set_index("period")
    assert fourier.loc[10, "p_value"] < 0.01
    matching = tables["matching"].set_index("group")
    random = matching.loc["random directions"]
    assert matching.loc["mod10", "max_cosine_low"] > random["max_cosine_high"]
    assert matching.loc["mod10", "same_label"] > random["same_label"] + 0.3
    probe = finished.table("witness_summary").set_index("witness").loc["probe"]
    assert probe["cosine_low"] > probe["cosine_random"]


def test_findings_are_printed_with_control_and_n(finished: Run, capsys) -> None:
    assert ordinal("features", finished.folder, "--label", "mod10") == 0
    out = capsys.readouterr().out
    lines = out[out.index("period 10:") :].splitlines()
    assert len(lines) <= 7  # six findings, and what to type next
    assert all(len(line) <= 80 for line in lines[:-1])
    for part in ("shuffled 95%", "numbers)", "other orders 95%", "pairs)", "elements)", "MMCS"):
        assert part in out


def test_numbers_with_gaps_pass_and_say_what_they_cannot_show(
    finished: Run, tmp_path: Path, capsys
) -> None:
    file = numbers_only(finished, tmp_path / "gaps.safetensors", step=3)
    assert ordinal("features", "--activations", file, "--runs", tmp_path / "runs") == 0
    assert "not testable: cyclic, index and domain" in capsys.readouterr().out
    reasons = pd.read_parquet(tmp_path / "runs" / "gaps" / "structure" / "left_out.parquet")
    assert set(reasons["table"]) == {"cyclic", "index_and_domain"}


def test_the_report_shows_what_was_found_and_names_what_was_left_out(
    finished: Run, tmp_path: Path
) -> None:
    words = Page((finished.folder / "report.html").read_text()).words
    probe = finished.table("witness_summary").set_index("witness").loc["probe"]
    assert f"{probe['cosine']:.2f} [{probe['cosine_low']:.2f}" in words
    assert "0.708" in words
    assert "58.5%" in words
    assert "Left out," not in words


def test_a_run_whose_tokens_show_no_structure_says_why(finished: Run, tmp_path: Path) -> None:
    skipped = shutil.ignore_patterns("wandb", "*.html")
    copy = Run(
        Path(shutil.copytree(finished.folder, tmp_path / "run", ignore=skipped)), finished.config
    )
    for path in copy.structure.glob("*.parquet"):
        path.unlink()
    reason = "3 numbers are single tokens, 40 are needed"
    left_out = pd.DataFrame({"table": ["helices"], "reason": [reason]})
    write_parquet(left_out, copy.structure / "left_out.parquet")
    for name in TABLES:
        write_parquet(pd.DataFrame(), copy.verification / f"{name}.parquet")
    page = Page(render(copy))
    assert f"helices ({reason})" in page.words
    assert "Left out," in page.words
    assert "0.708" not in page.words


def test_two_runs_of_one_model_hold_the_same_numbers(finished: Run, capsys) -> None:
    assert ordinal("compare", finished.folder, finished.folder, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["similarity"]
    assert [row["measure"] for row in rows] == ["RSA", "Procrustes R2"]
    for row in rows:
        assert row["value"] > 0.99 > row["null_banded_95"]
        assert row["p_value"] == pytest.approx(1 / 501)
        assert row["n"] == 200
    assert ordinal("compare", finished.folder, finished.folder) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "200" in out


def test_a_folder_that_is_no_run_cannot_be_compared(finished: Run, tmp_path: Path, capsys) -> None:
    assert ordinal("compare", finished.folder, tmp_path) == 2
    assert "no run folder" in one_line(capsys)
