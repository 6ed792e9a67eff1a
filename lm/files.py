"""Nothing is half-written: every file and folder is written beside its place, then renamed."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from lm.errors import OrdinalError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write a file or a folder to; it takes the place of `path` when the block succeeds.

    Raises:
        OrdinalError: the disk is full, or the place cannot be written to.
    """
    partial = path.with_name(path.name + ".partial")
    _remove(partial)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if partial.is_dir() and path.is_dir():
            old = path.with_name(path.name + ".old")
            _remove(old)
            os.replace(path, old)
            os.replace(partial, path)
            _remove(old)
        else:
            os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OrdinalError(
            f"{path} could not be written ({reason}); what was there before is "
            "untouched. Free some space or name another folder."
        ) from error
    finally:
        _remove(partial)


def write_safetensors(
    tensors: "Mapping[str, Tensor]", path: Path, metadata: dict[str, str] | None = None
) -> None:
    """Write tensors, to a path that `replacing` gave.

    The library's own `save_file` orders the header anew in each process, and writes files that no
    one else may read; here the same tensors give the same bytes, with the user's permissions.
    """
    from safetensors.torch import save

    whole = save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
    size = int.from_bytes(whole[:8], "little")
    header = json.dumps(json.loads(whole[8 : 8 + size]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + whole[8 + size :])


def write_parquet(table: "pd.DataFrame", path: Path) -> None:
    """Write a table as Parquet."""
    with replacing(path) as partial:
        table.to_parquet(partial, index=False)


def read_parquet(path: Path) -> "pd.DataFrame":
    """Read a table.

    Raises:
        OrdinalError: the file is missing or damaged.
    """
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
        raise OrdinalError(f"{path} {what}; repeat the step that writes it.") from None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
