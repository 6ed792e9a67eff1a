"""Files on a disk that fills up, and folders that are replaced as a whole."""

import subprocess
import sys
from pathlib import Path

import pytest

from lm.errors import OrdinalError
from lm.files import replacing

FULL_DISK = """
import resource, sys, torch
from pathlib import Path
from safetensors.torch import save_file
from lm.errors import OrdinalError
from lm.files import replacing, write_parquet
import pandas as pd
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for write in (
    lambda path: save_file({"x": torch.zeros(10_000)}, path),
    lambda path: path.write_bytes(bytes(40_000)),
):
    try:
        with replacing(Path(sys.argv[1])) as partial:
            write(partial)
    except OrdinalError as error:
        assert "could not be written" in str(error) and sys.argv[1] in str(error), error
    else:
        raise SystemExit("the disk was full and nothing was said")
"""


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_text("old")
    subprocess.run([sys.executable, "-c", FULL_DISK, path], check=True)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_a_folder_takes_the_place_of_another_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for number in range(2):
        with replacing(path) as partial:
            partial.mkdir()
            (partial / str(number)).touch()
    assert [p.name for p in path.iterdir()] == ["1"]


def test_an_error_inside_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:
        partial.mkdir()
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.rglob("*")] == ["folder", "old"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OrdinalError, match="could not be written"),
        replacing(tmp_path / "file" / "below"),
    ):
        pass
