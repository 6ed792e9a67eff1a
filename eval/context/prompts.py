"""Prompts in which a successor comes next: lists, sequences, statements, numbered lists."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import yaml
from jaxtyping import Int
from torch import Tensor

from eval.patching.readout import Readout
from lm.ordinals import OrdinalTokens, Tokenizer

if TYPE_CHECKING:
    from lm.bridged import BridgedModel

FILE = Path(__file__).with_name("prompts.yaml")
BATCH = 64
ITEM = "thing"
"""What the elements of a task without a noun of its own are called."""


class Prompt(NamedTuple):
    """One prompt, for one source token."""

    ids: Int[Tensor, " pos"]
    position: int
    """Of the source: the last element in it."""
    row: int
    """Of the source in the `OrdinalTokens`."""


@dataclass(frozen=True)
class Prompts:
    """The prompts of one template, one for each source that has room for its predecessors."""

    family: str
    spelling: str
    """Of the elements: `bare`, or with a `space`."""
    template: str
    prompts: tuple[Prompt, ...]

    @property
    def rows(self) -> Int[np.ndarray, " prompts"]:
        """Of the sources."""
        return np.array([prompt.row for prompt in self.prompts])


class LeftOut(NamedTuple):
    """A family that a model cannot be asked in, and why."""

    family: str
    reason: str


@cache
def _written() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def make_prompts(
    model: "BridgedModel",
    tokens: OrdinalTokens,
    readouts: Sequence[Readout],
    *,
    seed: int = 0,
) -> tuple[list[Prompts], list[LeftOut]]:
    """Every template of every family that the model's tokenizer can write.

    Args:
        model: begins each prompt with its beginning-of-sequence token, where it has one.
        tokens: the elements, put into the prompts as ids.
        readouts: which elements follow each other, task by task and spelling by spelling.
        seed: of the words between the elements.

    Returns:
        The prompts, template by template; and the families of which no template can be written.
    """
    rng = np.random.default_rng(seed)
    start = getattr(model.bridge.tokenizer, "bos_token_id", None)
    start = [] if start is None else [int(start)]
    made, left_out = [], []
    for family, spelled in _written()["families"].items():
        tasks, reasons, before = spelled.get("tasks"), [], len(made)
        asked = [r for r in readouts if tasks is None or r.task in tasks]
        for spelling in ("bare", "space"):
            here = [r for r in asked if _spelling(tokens, r) == spelling]
            for template in spelled[spelling] if here else ():
                unknown = _unknown(template, here, model.tokenizer)
                if unknown:
                    reasons.append(f"the tokenizer does not know {unknown!r}")
                    continue
                prompts = _fill(template, here, tokens, model.tokenizer, start, rng)
                longest = max((len(prompt.ids) for prompt in prompts), default=0)
                if longest > model.info.n_ctx:
                    reasons.append(f"{longest} tokens, and there is room for {model.info.n_ctx}")
                elif prompts:
                    made.append(Prompts(family, spelling, template, tuple(prompts)))
                else:
                    reasons.append("no element has as many before it")
        if len(made) == before:
            why = "; ".join(dict.fromkeys(reasons))
            left_out.append(
                LeftOut(family, why or f"no tokens of {', '.join(tasks or ['a task'])}")
            )
    return made, left_out


def batches(
    prompts: Sequence[Prompt], size: int = BATCH
) -> Iterator[tuple[Int[np.ndarray, " batch"], Int[Tensor, "batch pos"]]]:
    """Which prompts, and their ids: prompts of equal length together."""
    lengths = np.array([len(prompt.ids) for prompt in prompts])
    for length in np.unique(lengths):
        here = np.flatnonzero(lengths == length)
        for part in np.split(here, range(size, len(here), size)):
            yield part, torch.stack([prompts[at].ids for at in part])


def _spelling(tokens: OrdinalTokens, readout: Readout) -> str:
    return str(tokens.table["form"].iloc[int(readout.rows[0])]).split()[0]


def _parts(template: str, noun: str) -> list[str]:
    """`{}`, `{word}` and the text between them, without empty parts."""
    parts = re.split(r"(\{\}| ?\{word\})", template.replace("{noun}", noun))
    return [part for part in parts if part]


def _noun(task: str) -> str:
    return _written()["nouns"].get(task, ITEM)


def _unknown(template: str, readouts: Sequence[Readout], tokenizer: Tokenizer) -> str:
    """The first part of the template that does not come back from its tokens."""
    for noun in dict.fromkeys(_noun(readout.task) for readout in readouts):
        for part in _parts(template, noun):
            words = [f" {word}" for word in _written()["words"]] if "{word}" in part else [part]
            for text in words:
                if text != "{}" and not _comes_back(text, tokenizer):
                    return text
    return ""


def _comes_back(text: str, tokenizer: Any) -> bool:
    said = tokenizer.decode(_encode(text, tokenizer), skip_special_tokens=False)
    return "".join(said.replace("▁", " ").split()) == "".join(text.split())


def _encode(text: str, tokenizer: Tokenizer) -> list[int]:
    """The tokens of a text that stands inside another.

    SentencePiece tokenizers put a space before every text that they encode: it falls to a line
    break in front, which is taken off again.
    """
    before = tokenizer.encode("\n", add_special_tokens=False).ids
    both = tokenizer.encode("\n" + text, add_special_tokens=False).ids
    if both[: len(before)] == before:
        return both[len(before) :]
    return tokenizer.encode(text, add_special_tokens=False).ids


def _fill(
    template: str,
    readouts: Sequence[Readout],
    tokens: OrdinalTokens,
    tokenizer: Tokenizer,
    start: list[int],
    rng: np.random.Generator,
) -> list[Prompt]:
    words = [_encode(f" {word}", tokenizer) for word in _written()["words"]]
    ids = tokens.table["token_id"].to_numpy()
    out = []
    for readout in readouts:
        parts = _parts(template, _noun(readout.task))
        encoded = {p: _encode(p, tokenizer) for p in parts if "{" not in p}
        rows = readout.rows.numpy()
        for source in readout.sources:
            elements = _until(readout, int(source), parts.count("{}"))
            if not elements:
                continue
            filled, position, following = list(start), 0, iter(elements)
            for part in parts:
                if part == "{}":
                    position = len(filled)
                    filled.append(int(ids[rows[next(following)]]))
                else:
                    filled += encoded[part] if part in encoded else words[rng.integers(len(words))]
            out.append(Prompt(torch.tensor(filled), position, int(rows[source])))
    return out


def _until(readout: Readout, source: int, count: int) -> list[int]:
    """Positions of `count` successive elements, the source last; empty if there are too few."""
    elements = [source]
    while len(elements) < count:
        before = np.flatnonzero(readout.successor == elements[0])
        if len(before) == 0:
            return []
        elements.insert(0, int(before[0]))
    return elements
