"""Questions about what a head writes: its units, its tens, its task, and whether it is a copy."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eval.heads.behaviours import behaviour_groups
from lm.access import LanguageModel
from lm.circuit import HeadCircuit, head_circuit
from lm.ordinals import NO_SUCCESSOR, OrdinalTokens

UNITS, TENS, TASK = "units right", "tens right", "task right"
COPYING, OTHER_WORDS = "copying", "copying, other words"


class Population(NamedTuple):
    """The tokens that a question is asked of."""

    x: Float[Tensor, "tokens d_model"]
    """M(t)."""
    task: np.ndarray
    element: Int[np.ndarray, " tokens"]
    """Spellings of one element share it; unique across tasks."""


@dataclass(frozen=True)
class RoleReadout:
    """One question about what a head writes, asked of some tokens of one spelling."""

    name: str
    """`units right`, `tens right`, `task right`, `copying` or `copying, other words`."""
    rows: Int[Tensor, " sources"]
    """Of the population: the words for `copying, other words`, else the ordinal tokens."""
    circuit: HeadCircuit
    accepted: Bool[Tensor, "sources candidates"]
    """The candidates that are right for each source."""

    @property
    def chance(self) -> Float[np.ndarray, " sources"]:
        """What guessing among the candidates gets right."""
        return self.accepted.double().mean(1).numpy()

    def right(
        self, m: Float[Tensor, "rows d_model"], at: Int[Tensor, " rows"] | slice = slice(None)
    ) -> Bool[np.ndarray, " rows"]:
        """Whether the head, reading rows of `m` for the sources `at`, writes what is right."""
        written = self.circuit.logits(m).argmax(-1, keepdim=True)
        return self.accepted[at].gather(1, written)[:, 0].numpy()

    def among(self, tokens: Bool[np.ndarray, " tokens"]) -> "RoleReadout":
        """The same question, asked only of these rows of the population."""
        kept = torch.tensor(tokens)[self.rows]
        return replace(self, rows=self.rows[kept], accepted=self.accepted[kept])


def successor_readouts(
    model: LanguageModel, tokens: OrdinalTokens, layer: int, head: int
) -> list[RoleReadout]:
    """Units and tens of the number that a head writes, and the task of what it writes.

    The task is read among the candidates of all tasks in the source's spacing; a token of two
    tasks, as `May`, counts for both. Sources have a successor, and are of no held-out task.
    """
    table, out = tokens.table, []
    asked = (table["successor"] != NO_SUCCESSOR) & ~table["held_out_task"]
    for _, rows in table[table["task"] == "numbers"].groupby("form", sort=False):
        sources = rows[asked[rows.index]]
        if sources.empty:
            continue
        written, target = rows["index"].to_numpy()[None], sources["index"].to_numpy()[:, None] + 1
        circuit = head_circuit(model, layer, head, torch.tensor(rows["token_id"].to_numpy()))
        at = torch.tensor(sources.index.to_numpy())
        for name, right in (
            (UNITS, written % 10 == target % 10),
            (TENS, written // 10 == target // 10),
        ):
            out.append(RoleReadout(name, at, circuit, torch.tensor(right)))
    spacing = table["form"].str.split().str[0]
    for _, rows in table.groupby(spacing, sort=False):
        sources = rows[asked[rows.index]]
        if sources.empty or rows["task"].nunique() < 2:
            continue
        member = pd.crosstab(rows["token_id"], rows["task"]).astype(bool)
        circuit = head_circuit(model, layer, head, torch.tensor(member.index.to_numpy()))
        right = torch.tensor(member[sources["task"]].to_numpy().T)
        out.append(RoleReadout(TASK, torch.tensor(sources.index.to_numpy()), circuit, right))
    return out


def copying_readouts(
    model: LanguageModel,
    tokens: OrdinalTokens,
    words: Int[Tensor, " words"],
    layer: int,
    head: int,
    reported: Bool[np.ndarray, " tokens"],
) -> list[RoleReadout]:
    """Whether a head writes its own source: among its task in its spelling, and among the words.

    Args:
        words: token ids of words without order.
        reported: the ordinal tokens that the head was not chosen on.
    """
    kept = ~tokens.table["held_out_task"].to_numpy()
    out = []
    for _, group, _ in behaviour_groups(tokens, model.tokenizer)["copying"]:
        if kept[group.sources].all():
            circuit = head_circuit(model, layer, head, group.candidates)
            right = group.targets[:, None] == torch.arange(len(group.candidates))
            out.append(RoleReadout(COPYING, group.sources, circuit, right).among(reported))
    if len(words) > 1:
        circuit, n = head_circuit(model, layer, head, words), len(words)
        right = torch.eye(n, dtype=torch.bool)
        out.append(RoleReadout(OTHER_WORDS, torch.arange(n), circuit, right))
    return out


def populations(
    tokens: OrdinalTokens,
    m: Float[Tensor, "tokens d_model"],
    words: Float[Tensor, "words d_model"],
) -> dict[str, Population]:
    """What each readout is asked of: numbers and tasks are rows of the ordinal tokens.

    Args:
        m: M(t) of the ordinal tokens.
        words: M(t) of the words without order.
    """
    table = tokens.table
    element = table.groupby(["task", "index"], sort=False).ngroup().to_numpy()
    ordinal = Population(m, table["task"].to_numpy(), element)
    others = Population(words, np.full(len(words), "words"), np.arange(len(words)))
    return dict.fromkeys((UNITS, TENS, TASK, COPYING), ordinal) | {OTHER_WORDS: others}
