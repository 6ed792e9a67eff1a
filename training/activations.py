"""Activations: one vector for each ordinal token, and the file that holds them."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lm.errors import OrdinalError
from lm.files import replacing, write_safetensors
from lm.ordinals import COLUMNS, NO_SUCCESSOR, OrdinalTokens, assign_folds, load_tasks

HOOK = "blocks.0.hook_mlp_out"
TENSOR = "activations"
REQUIRED: dict[str, type] = {"text": str, "token_id": int, "task": str, "index": int}
SPACES = "Ġ▁ "
"""How vocabularies spell the space before a word."""


@dataclass(frozen=True)
class Activations:
    """One vector a row, aligned with the rows of `tokens`.

    Raises:
        OrdinalError: there are no rows, not one a token, or a value is NaN or infinite.
    """

    x: Float[Tensor, "tokens d_model"]
    tokens: OrdinalTokens
    metadata: dict[str, str] = field(default_factory=dict)
    """Where the vectors come from: `model`, `revision`, `hook`, `ln`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", self.x.detach().float().contiguous())
        if self.x.ndim != 2 or not self.x.numel():
            raise OrdinalError(
                f"The activations have shape {tuple(self.x.shape)}; expected [tokens, d_model] "
                "with at least one token."
            )
        if len(self.x) != len(self.tokens):
            raise OrdinalError(
                f"There are {len(self.x)} activation vectors for {len(self.tokens)} tokens; "
                "expected one each, in the same order."
            )
        bad = ~torch.isfinite(self.x).all(1)
        if bad.any():
            row = int(bad.int().argmax())
            raise OrdinalError(
                f"The activations of {int(bad.sum())} of {len(bad)} tokens hold NaN or infinite "
                f"values, the first in row {row} ({self.tokens.table['text'][row]!r})."
            )

    @property
    def model_name(self) -> str:
        return self.metadata.get("model", "unknown")

    @property
    def hook_name(self) -> str:
        return self.metadata.get("hook", HOOK)

    @cached_property
    def _first_rows(self) -> Bool[np.ndarray, " tokens"]:
        """One row a token id, none of a task that is never fitted."""
        table = self.tokens.table
        untouched = table.groupby("token_id")["held_out_task"].transform("any")
        return np.asarray(~table["token_id"].duplicated() & ~untouched)

    def held_out(self, fold: int) -> Bool[np.ndarray, " tokens"]:
        """The rows that a member which holds out `fold` must not see.

        A token counts if any of its rows does: `May` is a month and a month prefix.
        """
        table = self.tokens.table
        held_out = (table["fold"] == fold).groupby(table["token_id"]).transform("any")
        return held_out.to_numpy(copy=True)

    def fit_rows(self, fold: int) -> Int[np.ndarray, " rows"]:
        """The rows to fit on: each token once, without the held-out ones and held-out tasks."""
        return np.flatnonzero(self._first_rows & ~self.held_out(fold))

    def test_rows(self, fold: int) -> Int[np.ndarray, " rows"]:
        """The held-out rows, each token once, without held-out tasks."""
        return np.flatnonzero(self._first_rows & self.held_out(fold))

    def save(self, path: str | Path) -> None:
        """Write an activation file: safetensors, with the tokens in the header's metadata."""
        rows = self.tokens.table.to_dict("records")
        header = {"tokens": json.dumps(rows, ensure_ascii=False), **self.metadata}
        with replacing(Path(path)) as partial:
            write_safetensors({TENSOR: self.x}, partial, header)

    @classmethod
    def load(cls, path: str | Path) -> "Activations":
        """Read an activation file, ours or another tool's.

        The header's `tokens` is a JSON list of `{"text", "token_id", "task", "index"}`; what else
        `OrdinalTokens` needs is worked out where the file does not say it.

        Raises:
            OrdinalError: it is no such file, or its rows are wrong.
        """
        try:
            with safe_open(path, "pt") as file:
                header = dict(file.metadata() or {})
                names = list(file.keys())
                x = file.get_tensor(TENSOR) if TENSOR in names else None
        except FileNotFoundError:
            raise OrdinalError(f"{path}: no such file.") from None
        except (SafetensorError, OSError) as error:
            raise OrdinalError(
                f"{path} is not a safetensors file, or is cut short ({error})."
            ) from None
        if x is None:
            raise OrdinalError(
                f"{path} has no tensor `{TENSOR}` [tokens, d_model]; "
                f"it has {', '.join(names) or 'none'}."
            )
        if "tokens" not in header:
            raise OrdinalError(
                f'{path}: the header\'s metadata has no `tokens`: a JSON list of {{"text", '
                '"token_id", "task", "index"}, one for each row.'
            )
        try:
            tokens = _tokens(_rows(header.pop("tokens")))
            return cls(x, tokens, header)
        except OrdinalError as error:
            raise OrdinalError(f"{path}: {error}") from None


def _rows(text: str) -> list[dict[str, Any]]:
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise OrdinalError(f"the header's `tokens` is not JSON ({error}).") from None
    if not isinstance(rows, list):
        raise OrdinalError("the header's `tokens` must be a JSON list, one object for each row.")
    for number, row in enumerate(rows):
        for key, kind in REQUIRED.items():
            value = row.get(key) if isinstance(row, Mapping) else None
            if not isinstance(value, kind) or isinstance(value, bool):
                raise OrdinalError(
                    f"row {number} of the header's `tokens` needs `{key}` "
                    f"({'text' if kind is str else 'a whole number'}); it is {row!r}."
                )
    return rows


def _tokens(rows: list[dict[str, Any]]) -> OrdinalTokens:
    """The rows with all columns of `OrdinalTokens`."""
    if not rows:
        raise OrdinalError("it holds no tokens.")
    tasks = load_tasks()
    indices = defaultdict(set)
    for row in rows:
        indices[row["task"]].add(row["index"])
    folds = {task: assign_folds(sorted(found), 0) for task, found in indices.items()}
    spelled = [_spell(row) for row in rows]
    by_place = {(row["task"], row["index"], row["form"]): row["token_id"] for row in spelled}

    def complete(row: dict[str, Any]) -> dict[str, Any]:
        task = tasks.get(row["task"])
        after = task.following(row["index"]) if task and task.cyclic else row["index"] + 1
        derived = {
            "successor": by_place.get((row["task"], after, row["form"]), NO_SUCCESSOR),
            "fold": folds[row["task"]][row["index"]],
            "held_out_task": bool(task and task.held_out),
        }
        return {name: row.get(name, derived.get(name)) for name in COLUMNS}

    try:
        return OrdinalTokens(Dataset.from_list([complete(row) for row in spelled], COLUMNS))
    except (ValueError, TypeError) as error:  # pyarrow's, of a column of another type
        raise OrdinalError(f"a column of the header's `tokens` is malformed ({error}).") from None


def _spell(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its space written as one, and its `form` read off the text if it has none."""
    text = row["text"]
    word = text.lstrip(SPACES)
    spaced = text != word
    if word.isdigit():
        case = ""
    elif word[:1].isupper():
        case = " upper" if len(word) > 1 and word.isupper() else " capital"
    else:
        case = " lower"
    form = ("space" if spaced else "bare") + case
    return {"form": form, **row, "text": f" {word}" if spaced else word}
