"""Checkpoints stand in the order of the numbers in their names."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from ordinal.checkpoint_series import checkpoint_series


def make_folders(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").touch()


@pytest.mark.parametrize(
    ("in_order", "steps"),
    [
        (["checkpoint-50", "checkpoint-200", "checkpoint-1000"], [50, 200, 1000]),
        (["step9-tokens3B", "step10-tokens4B"], [9, 10]),
        (["gpt2-7", "gpt2-12"], [7, 12]),
    ],
)
def test_a_folder_s_checkpoints_are_in_the_order_of_their_numbers(
    tmp_path: Path, in_order: list[str], steps: list[int]
) -> None:
    make_folders(tmp_path, in_order)
    (tmp_path / "logs-3").mkdir()
    series = checkpoint_series([str(tmp_path)])
    assert series.name == tmp_path.name
    assert [one.label for one in series.checkpoints] == in_order
    assert series.positions == steps


def test_names_without_numbers_stand_at_their_places(tmp_path: Path) -> None:
    make_folders(tmp_path, ["final", "step20", "step3"])
    series = checkpoint_series([str(tmp_path)])
    assert [one.label for one in series.checkpoints] == ["step3", "step20", "final"]
    assert series.positions == [1, 2, 3]


def test_revisions_of_the_hub_are_checkpoints_by_the_number_of_the_revision() -> None:
    name = "EleutherAI/pythia-1.4b"
    series = checkpoint_series([f"{name}@step143000", f"{name}@step512"])
    assert series.name == "pythia-1.4b"
    assert [one.source for one in series.checkpoints] == [f"{name}@step512", f"{name}@step143000"]
    assert series.positions == [512, 143000]
    assert not checkpoint_series([name, f"{name}@step512"]).has_steps
