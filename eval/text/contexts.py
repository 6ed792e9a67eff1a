"""Contexts of natural text: rows of token ids, all of one length (Successor Heads, section 4)."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice, repeat
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Int
from tokenizers import Tokenizer
from torch import Tensor

from lm.errors import OrdinalError, UsageError
from lm.open import PROBE_SECONDS

if TYPE_CHECKING:
    from lm.access import LanguageModel

LENGTH = 512
"""Tokens of a context, where the model reads as many."""
CONTEXTS = 128
END, UNKNOWN = "<|endoftext|>", "<unk>"
MOST_UNKNOWN = 0.5
"""Share of unknown tokens above which a text is refused."""
BLOCK = 2**16
"""Characters of a file that are tokenized at once."""
SUFFIXES = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}
"""Files of rows, by the reader of `datasets` for them; any other file is plain text."""
WANTED = (
    "Give a text file in UTF-8, rows with a column `text` (.jsonl, .parquet, or a folder saved by "
    "`datasets`), or a dataset of the hub, as `--set verify.text=FILE`."
)


class Contexts(NamedTuple):
    """Text for a model to read."""

    ids: Int[Tensor, "contexts length"]
    source: str
    """In words, for what is shown."""


def text_contexts(
    model: "LanguageModel", text: str | None = None, *, count: int = CONTEXTS, seed: int = 0
) -> Contexts | None:
    """Contexts of a text that is given, or of the embedded model's own kind.

    Documents follow one another, an empty line between; each context starts with the token that
    texts of this tokenizer start with. The first contexts of the text are taken.

    Args:
        model: gives the tokenizer and the length, `min(512, n_ctx)`.
        text: a text file, rows of text or a dataset of the hub, of which no more than is needed is
            read; None for documents of the embedded model's corpus, drawn for this and not for
            training.
        count: of contexts; a shorter text gives fewer.
        seed: of the documents drawn.

    Returns:
        None where no text is given and the model has not the embedded model's vocabulary.

    Raises:
        UsageError: there is no such file and no such dataset, or the hub cannot be reached.
        OrdinalError: the text is empty, too short for two contexts, not UTF-8, in words that the
            model does not have, or without a column `text`.
    """
    length = min(LENGTH, model.info.n_ctx)
    if text is None:
        return _own_kind(model.tokenizer, length, count, seed)
    start = leading(model.tokenizer)
    room = length - len(start)
    ids: list[int] = []
    with _unlogged():
        for piece in _texts(text):
            ids += model.tokenizer.encode(piece, add_special_tokens=False).ids
            if len(ids) >= count * room:
                break
    rows = torch.tensor(ids[: len(ids) // room * room]).view(-1, room)[:count]
    if not ids:
        raise OrdinalError(f"{text} is empty. {WANTED}")
    if len(rows) < 2:
        raise OrdinalError(
            f"{text} has {len(ids):,} tokens. Two contexts of {length} are the least: a head's "
            "mean is taken over other contexts than those it is judged on. Give a longer text."
        )
    model.info.check_tokens(rows.flatten())
    unknown = model.tokenizer.token_to_id(UNKNOWN)
    share = (rows == unknown).float().mean().item() if unknown is not None else 0.0
    if share > MOST_UNKNOWN:
        raise OrdinalError(
            f"{text} is {share:.0%} words that the vocabulary of {model.info.name} does not have, "
            "so there is little to read. Give a text in its words, or study another model."
        )
    first = torch.tensor(start, dtype=torch.long).expand(len(rows), -1)
    return Contexts(torch.cat([first, rows], 1), text)


def leading(tokenizer: Tokenizer) -> list[int]:
    """What texts of this tokenizer start with: what it puts before them itself, or the end token
    that stands between documents."""
    own = tokenizer.encode("", add_special_tokens=True).ids
    end = tokenizer.token_to_id(END)
    return own or ([] if end is None else [end])


def _own_kind(tokenizer: Tokenizer, length: int, count: int, seed: int) -> Contexts | None:
    """Rows of the embedded model's two lessons in turn, as many of each.

    Training seeds its corpus with whole numbers, so that no seed of it draws these.
    """
    from lm.counting.corpus import COUNTING, FACTS, documents, rows
    from lm.counting.vocabulary import words

    identifiers = {word: identifier for identifier, word in enumerate(words())}
    if tokenizer.get_vocab() != identifiers:
        return None
    lessons = [
        rows(documents(Random(f"text {name} {seed}"), kinds), length)
        for name, kinds in (("facts", FACTS), ("counting", COUNTING))
    ]
    drawn = islice(chain.from_iterable(zip(*lessons, strict=False)), count)
    ids = torch.tensor([[identifiers[word] for word in row] for row in drawn])
    return Contexts(ids, "fresh documents of the embedded model's corpus")


def _texts(text: str) -> Iterator[str]:
    """The text in pieces, read as they are asked for."""
    path = Path(text).expanduser()
    if not path.exists():
        return _documents(_hub(text), text)
    if path.is_dir():
        return _documents(_saved(path), text)
    if path.suffix in SUFFIXES:
        return _documents(_rows(path), text)
    return _blocks(path)


def _blocks(path: Path) -> Iterator[str]:
    """A file's text, whole lines at a time."""
    try:
        with path.open(encoding="utf-8") as file:
            while lines := file.readlines(BLOCK):
                yield "".join(lines)
    except UnicodeDecodeError as error:
        raise OrdinalError(f"{path} is not UTF-8 text ({error.reason}). {WANTED}") from None
    except OSError as error:
        raise OrdinalError(f"{path} cannot be read ({error.strerror}).") from None


def _documents(rows: Any, name: str) -> Iterator[str]:
    """The column `text` of rows, an empty line between documents."""
    try:
        for between, row in zip(chain([""], repeat("\n\n")), rows, strict=False):
            if not isinstance(row.get("text"), str):
                columns = ", ".join(row) or "none"
                raise OrdinalError(f"{name} has no column `text` of words, but {columns}. {WANTED}")
            yield between + row["text"]
    except OrdinalError:
        raise
    except Exception as error:  # whatever `datasets` or the network stumbled over
        raise OrdinalError(f"{name} cannot be read ({_line(error)}). {WANTED}") from None


def _rows(path: Path) -> Any:
    from datasets import load_dataset

    try:
        return load_dataset(
            SUFFIXES[path.suffix], data_files=str(path), split="train", streaming=True
        )
    except Exception as error:  # as above
        raise OrdinalError(f"{path} cannot be read ({_line(error)}). {WANTED}") from None


def _saved(folder: Path) -> Any:
    from datasets import load_from_disk

    try:
        return _split(load_from_disk(str(folder)))
    except Exception as error:  # as above
        raise OrdinalError(
            f"{folder} is no folder that `datasets` saved ({_line(error)}). {WANTED}"
        ) from None


def _hub(name: str) -> Any:
    """Ask the hub once, briefly, before its client starts to retry; then read what is needed."""
    from datasets import load_dataset
    from huggingface_hub import dataset_info
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        dataset_info(name, timeout=PROBE_SECONDS)
    except (HFValidationError, RepositoryNotFoundError):
        raise UsageError(
            f"{name}: there is no such file, and the hub has no such dataset. {WANTED}"
        ) from None
    except Exception as error:  # the client's HTTP library, and so its errors, differ by version
        raise UsageError(
            f"{name}: there is no such file, and the hub could not be asked for a dataset "
            f"({_line(error)}). {WANTED}"
        ) from None
    try:
        return _split(load_dataset(name, streaming=True))
    except Exception as error:  # as above
        raise OrdinalError(f"{name} cannot be read ({_line(error)}). {WANTED}") from None


def _split(found: Any) -> Any:
    """The split `train` of a dataset, or the first one."""
    if isinstance(found, dict):
        return found.get("train", next(iter(found.values())))
    return found


@contextmanager
def _unlogged() -> Iterator[None]:
    """`datasets` logs what it then raises."""
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(previous)


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
