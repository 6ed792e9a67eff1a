"""The ordinal tasks and their tokens (Successor Heads, section 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import datasets
import numpy as np
import pandas as pd
import yaml
from datasets import Dataset, Features, Value
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lm.errors import OrdinalError, UsageError

TASKS_FILE = Path(__file__).with_name("tasks.yaml")
FOLDS = 5
NO_SUCCESSOR = -1

COLUMNS = Features(
    {
        "token_id": Value("int64"),
        "text": Value("string"),
        "task": Value("string"),
        "index": Value("int64"),
        "form": Value("string"),
        "successor": Value("int64"),
        "fold": Value("int64"),
        "held_out_task": Value("bool"),
    }
)

Case = Literal["lower", "capital", "upper"]


class Tokenizer(Protocol):
    """What is asked of a tokenizer: a `tokenizers.Tokenizer` has it."""

    def get_vocab(self) -> dict[str, int]: ...
    def encode(self, sequence: str, *, add_special_tokens: bool) -> Any: ...


class OrdinalTask(BaseModel):
    """One ordered list of words, or a range of numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    range: tuple[int, int] | None = None
    elements: tuple[str | None, ...] | None = None
    first: int = 1
    cyclic: bool = False
    case: Annotated[tuple[Case, ...], Field(min_length=1)] = ("lower", "capital")
    held_out: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> "OrdinalTask":
        if (self.range is None) == (self.elements is None):
            raise ValueError("give either `range: [first, last]` or `elements: [...]`")
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError("`range` must be [first, last] with first < last")
        if self.elements is not None and sum(word is not None for word in self.elements) < 2:
            raise ValueError("`elements` must be two words or more")
        return self

    def spellings(self) -> list[tuple[int, str, str]]:
        """Every (index, form, text); a form is `space lower`, `bare capital`, or `space`."""
        if self.range is not None:
            first, last = self.range
            words = [(i, "", str(i)) for i in range(first, last + 1)]
        else:
            assert self.elements is not None
            words = [
                (self.first + position, f" {case}", _in_case(element, case))
                for position, element in enumerate(self.elements)
                if element is not None
                for case in self.case
            ]
        return [
            (index, name + case, prefix + text)
            for name, prefix in (("space", " "), ("bare", ""))
            for index, case, text in words
        ]

    def following(self, index: int) -> int | None:
        """The index that comes after `index`; None at the end of a task that is not cyclic."""
        if self.range is not None:
            return index + 1 if index < self.range[1] else None
        assert self.elements is not None
        last = self.first + len(self.elements) - 1
        if index < last:
            return index + 1
        return self.first if self.cyclic else None


def _in_case(word: str, case: Case) -> str:
    return {"lower": word.lower(), "capital": word.capitalize(), "upper": word.upper()}[case]


def load_tasks(
    file: str | Path | None = None, numbers: tuple[int, int] | None = None
) -> dict[str, OrdinalTask]:
    """Read task definitions from YAML; by default the paper's.

    Args:
        file: a YAML file with one mapping per task, as in `lm/tasks.yaml`.
        numbers: first and last number, in place of the file's.

    Raises:
        UsageError: the file is missing, is not YAML, or a task in it is malformed.
    """
    path = Path(file) if file is not None else TASKS_FILE
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UsageError(f"{path}: no such task file ({error.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(raw, Mapping) or not raw:
        raise UsageError(f"{path}: expected one mapping per task, as `days: {{elements: [...]}}`.")
    tasks = {}
    for name, definition in raw.items():
        try:
            tasks[str(name)] = OrdinalTask.model_validate(definition)
        except ValidationError as error:
            detail = error.errors()[0]
            where = ".".join(str(part) for part in (name, *detail["loc"]))
            raise UsageError(f"{path}: {where}: {detail['msg']}.") from None
    if numbers is not None and "numbers" in tasks:
        tasks["numbers"] = OrdinalTask(range=numbers)
    return tasks


def single_tokens(texts: Sequence[str], tokenizer: Tokenizer) -> dict[str, int]:
    """The texts that are one token, with their ids.

    A leading space is spelled as the vocabulary does (`Ġ`, `▁` or a plain space). SentencePiece
    tokenizers put a space before every text that they encode, so there a spelling without one
    counts when the vocabulary holds it.
    """
    vocabulary = tokenizer.get_vocab()
    marker = max("Ġ▁ ", key=lambda mark: sum(piece.startswith(mark) for piece in vocabulary))
    found = {}
    for text in texts:
        token = vocabulary.get(marker + text[1:] if text.startswith(" ") else text)
        if token is None:
            continue
        if marker == "▁" or tokenizer.encode(text, add_special_tokens=False).ids == [token]:
            found[text] = token
    return found


@dataclass(frozen=True)
class OrdinalTokens:
    """Single-token spellings of ordinal elements, one row each, held as a `datasets.Dataset`.

    Columns: `token_id`; `text` (with its leading space); `task`; `index` (the number itself, 1 for
    the first word of a list); `form` (the spelling: space and capitals); `successor` (the token id
    of the next element in the same spelling, -1 where there is none); `fold` (0-4, by task and
    index, so that all spellings of an element fall together); `held_out_task`.
    """

    dataset: Dataset
    missing: dict[str, int] = field(default_factory=dict)
    """By task, the number of spellings that are no single token."""

    @cached_property
    def table(self) -> pd.DataFrame:
        """The rows as a data frame. Do not modify."""
        table = self.dataset.with_format(None).to_pandas()
        assert isinstance(table, pd.DataFrame)
        return table

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(self.table["task"]))

    def save(self, folder: Path) -> None:
        """Write the dataset as `datasets.load_from_disk` reads it."""
        hidden = datasets.are_progress_bars_disabled()
        datasets.disable_progress_bars()
        try:
            self.dataset.save_to_disk(str(folder))
        finally:
            if not hidden:
                datasets.enable_progress_bars()

    def select(self, keep: np.ndarray) -> "OrdinalTokens":
        """The rows where the mask `keep` is true; one whose successor is not kept has none."""
        table = self.table[keep].reset_index(drop=True)
        kept = set(zip(table["task"], table["form"], table["token_id"], strict=True))
        followed = zip(table["task"], table["form"], table["successor"], strict=True)
        table["successor"] = [key[2] if key in kept else NO_SUCCESSOR for key in followed]
        dataset = Dataset.from_pandas(table, self.dataset.features, preserve_index=False)
        return replace(self, dataset=dataset)


def ordinal_tokens(
    tokenizer: Tokenizer,
    tasks: Mapping[str, OrdinalTask] | None = None,
    *,
    seed: int = 0,
) -> OrdinalTokens:
    """Every single-token spelling of the tasks' elements in a model's vocabulary.

    Args:
        tokenizer: a `tokenizers.Tokenizer`.
        tasks: by name; the paper's by default.
        seed: of the folds.

    Raises:
        OrdinalError: no element of any task is a single token.
    """
    tasks = load_tasks() if tasks is None else tasks
    rows: list[dict[str, Any]] = []
    missing = {}
    for name, task in tasks.items():
        spellings = list({text: (i, form, text) for i, form, text in task.spellings()}.values())
        ids = single_tokens([text for _, _, text in spellings], tokenizer)
        missing[name] = len(spellings) - len(ids)
        here = {(i, form): ids[text] for i, form, text in spellings if text in ids}
        folds = assign_folds(sorted({i for i, _ in here}), seed)
        for index, form, text in spellings:
            if text in ids:
                after = task.following(index)
                rows.append(
                    {
                        "token_id": ids[text],
                        "text": text,
                        "task": name,
                        "index": index,
                        "form": form,
                        "successor": here.get((after, form), NO_SUCCESSOR)
                        if after is not None
                        else NO_SUCCESSOR,
                        "fold": folds[index],
                        "held_out_task": task.held_out,
                    }
                )
    if not rows:
        raise OrdinalError(
            "None of the ordinal words or numbers is a single token in this tokenizer "
            f"(looked for {sum(missing.values()):,} spellings, as ' 12' and 'Monday'), so nothing "
            "can be tested here. Define tasks that it has with `tokens: {tasks_file: FILE}`."
        )
    return OrdinalTokens(Dataset.from_list(rows, features=COLUMNS), missing)


def assign_folds(indices: Sequence[int], seed: int) -> dict[int, int]:
    """Deal the indices into `FOLDS` equal parts, last digits evenly.

    Stratified, because a fold in which no number ends in 4 could not confirm a mod-10 feature.
    """
    rng = np.random.default_rng(seed)
    digit, within = rng.permutation(10), rng.random(len(indices))
    order = np.lexsort((within, [digit[index % 10] for index in indices]))
    return {indices[position]: rank % FOLDS for rank, position in enumerate(order.tolist())}
