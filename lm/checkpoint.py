"""A folder of safetensors, read a few rows at a time. Nothing is ever unpickled."""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import Tensor

from lm.errors import OrdinalError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

READABLE = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies."""

    file: Path
    offset: int
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Checkpoint:
    """The config and the headers of a model's folder; tensors are read when asked for.

    Reads go through `pread`, not through a memory map: pages of a map that is kept open count as
    resident, and scattered rows of an embedding would make most of it so.
    """

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, Entry]
    revision: str
    """SHA-256 over the config, and the headers and sizes of the weight files."""

    def read(
        self, name: str, rows: list[int] | None = None, columns: slice = slice(None)
    ) -> Float[Tensor, "..."]:
        """A tensor, or some rows and adjacent columns of a matrix, in float32.

        Raises:
            OrdinalError: the weights that were read hold NaN or infinity.
        """
        entry = self.tensors[name]
        dtype = READABLE[entry.dtype]
        if rows is None and columns == slice(None):
            shape, starts, length = entry.shape, [0], _product(entry.shape)
        else:
            n_rows, width = entry.shape
            first, stop, _ = columns.indices(width)
            chosen = range(n_rows) if rows is None else rows
            starts, length = [row * width + first for row in chosen], stop - first
            shape = (len(chosen), length)
        buffer = torch.empty(shape, dtype=dtype)
        size = length * dtype.itemsize
        view = buffer.view(-1).view(torch.uint8).numpy().data
        with entry.file.open("rb", buffering=0) as file:
            for position, start in enumerate(starts):
                offset = entry.offset + start * dtype.itemsize
                _pread(file.fileno(), view[position * size : (position + 1) * size], offset)
        tensor = buffer.float()
        if not torch.isfinite(tensor.sum()):
            raise OrdinalError(
                f"{entry.file}: {name} holds NaN or infinity where finite weights were expected. "
                "Download or save the checkpoint again."
            )
        return tensor

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The folder's `tokenizer.json`.

        Raises:
            OrdinalError: it is missing or unreadable.
        """
        path = self.folder / "tokenizer.json"
        if not path.is_file():
            raise OrdinalError(
                f"{self.folder} has no tokenizer.json. Save one there with "
                "`AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER)`."
            )
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # `tokenizers` raises nothing narrower
            raise OrdinalError(f"{path} is not a tokenizer that can be read: {error}") from None
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read the config and the headers of a folder in the Hugging Face layout.

    Raises:
        OrdinalError: something is missing, cut short, or not what its name says.
    """
    config = _read_json(folder / "config.json", f"{folder} has no config.json, so it is no model.")
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    tensors: dict[str, Entry] = {}
    for file in _weight_files(folder):
        header = _header(file)
        digest.update(header + str(file.stat().st_size).encode())
        for name, entry in json.loads(header).items():
            if name != "__metadata__":
                offset = 8 + len(header) + entry["data_offsets"][0]
                tensors[name] = Entry(file, offset, entry["dtype"], tuple(entry["shape"]))
    return Checkpoint(folder, config, tensors, digest.hexdigest())


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        index = folder / INDEX
        shards = _read_json(index, "").get("weight_map")
        if not isinstance(shards, dict):
            raise OrdinalError(f"{index} has no `weight_map`. Download the checkpoint again.")
        files = [folder / name for name in sorted(set(shards.values()))]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise OrdinalError(
                f"{folder} lacks {len(missing)} of the {len(files)} weight files that {INDEX} "
                f"names, the first {missing[0]}. Download the checkpoint again."
            )
        return files
    pickles = sorted(file.name for pattern in _PICKLES for file in folder.glob(pattern))
    if pickles:
        raise OrdinalError(
            f"{folder} has no {WEIGHTS}, only {pickles[0]}, a pickle, and nothing is unpickled "
            "here because a pickle can run code. If you trust it, convert it once with "
            "`AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)`."
        )
    raise OrdinalError(f"{folder} has neither {WEIGHTS} nor {INDEX}, so it has no weights to read.")


def _header(file: Path) -> bytes:
    """The JSON header. `safe_open` judges it: it also sees a data part that was cut short."""
    try:
        with safe_open(file, "pt"), file.open("rb") as stream:
            return stream.read(int.from_bytes(stream.read(8), "little"))
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise OrdinalError(
            f"{file} ({file.stat().st_size:,} bytes) is cut short or is not safetensors "
            f"({error}). Download or save it again."
        ) from None


def _read_json(path: Path, if_missing: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OrdinalError(
            f"{if_missing} A model folder holds config.json, {WEIGHTS} and tokenizer.json."
        ) from None
    except (OSError, ValueError) as error:
        raise OrdinalError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise OrdinalError(f"{path} holds a {type(value).__name__}, not a JSON object.")
    return value


def _pread(descriptor: int, view: memoryview, offset: int) -> None:
    """Fill `view`: the kernel hands over at most 2 GiB at a time."""
    while len(view):
        count = os.preadv(descriptor, [view], offset)
        if count == 0:
            raise OrdinalError("A weight file became shorter while it was read. Try again.")
        view, offset = view[count:], offset + count


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
