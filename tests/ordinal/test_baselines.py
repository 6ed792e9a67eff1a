"""`ordinal baselines`: the run's dictionary beside the others."""

import json
import shutil
from dataclasses import replace

import pytest

import training.baselines
from lm.errors import OrdinalError
from ordinal.printed.dictionaries import print_dictionaries
from ordinal.run_folder import Run
from ordinal.steps.baselines import compare_dictionaries

SOME = ("SAE, top-k", "frozen decoder", "PCA")


@pytest.fixture(scope="module")
def compared(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("baselines") / "run"
    shutil.copytree(finished.folder, folder)
    run = Run(folder, finished.config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.baselines, "KINDS", SOME)
        return run, compare_dictionaries(run)


def test_every_dictionary_has_a_row_and_the_table_is_kept(compared) -> None:
    run, table = compared
    assert table["dictionary"].tolist() == ["SAE", *SOME]
    assert run.table("dictionaries").equals(table)


def test_the_dictionaries_are_kept_and_not_fitted_again_until_the_sae_is(
    compared, monkeypatch, tmp_path
) -> None:
    run, table = compared
    with monkeypatch.context() as patch:
        patch.setattr(training.baselines, "KINDS", SOME)
        patch.setattr(training.baselines, "baseline_ensemble", None)
        assert compare_dictionaries(run).equals(table)
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    Run(folder, run.config).forget_after("train")
    assert not (folder / "baselines").exists()
    assert not (folder / "verification" / "dictionaries.parquet").exists()


def test_the_sae_has_the_figures_of_the_scorecard(compared) -> None:
    run, table = compared
    claims = {claim["claim"]: claim for claim in run.read_json("summary.json")["claims"]}
    for column, claim in (
        ("numbers", "edit numbers, SAE"),
        ("left", "left, SAE ablated"),
        ("held_out", "held-out min(P, R)"),
    ):
        assert table[column].iloc[0] == pytest.approx(claims[claim]["value"])


def test_the_table_fits_a_terminal_and_the_json_has_every_column(
    compared, capsys, monkeypatch
) -> None:
    run, table = compared
    monkeypatch.setenv("COLUMNS", "80")
    print_dictionaries(run, table, as_json=False)
    printed = capsys.readouterr().out
    assert max(map(len, printed.replace(str(run.folder), "").splitlines())) <= 80
    for word in ("frozen", "decoder", "PCA", "Against `SAE`", "Against `SAE, top-k`"):
        assert word in printed
    print_dictionaries(run, table, as_json=True)
    rows = json.loads(capsys.readouterr().out)["dictionaries"]
    assert [list(row) for row in rows] == [list(table.columns)] * len(table)


def test_an_sae_from_elsewhere_has_no_baselines(finished) -> None:
    config = finished.config.model_copy(update={"pretrained": "elsewhere"})
    with pytest.raises(OrdinalError, match="trained elsewhere"):
        compare_dictionaries(replace(finished, config=config))
