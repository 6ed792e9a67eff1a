"""Which of a task's elements the logits say, and by how much the successor is ahead."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eval.patching.readout import Readout
from lm.ordinals import OrdinalTokens


@dataclass(frozen=True)
class Answers:
    """For every source, the candidates of its task and spelling among those of all tasks."""

    candidates: Int[Tensor, " candidates"]
    """Token ids of all tasks, each once."""
    readout_of: Int[np.ndarray, " tokens"]
    """By row of the `OrdinalTokens`, which readout it belongs to; -1 where to none."""
    successor: Int[np.ndarray, " tokens"]
    """By row, the column of its successor; -1 where there is none."""
    allowed: Bool[Tensor, "readouts candidates"]

    @classmethod
    def of(cls, tokens: OrdinalTokens, readouts: Sequence[Readout]) -> "Answers":
        """The answers that the readouts' tasks have."""
        candidates = torch.unique(torch.cat([readout.circuit.candidates for readout in readouts]))
        readout_of = np.full(len(tokens), -1)
        successor = np.full(len(tokens), -1)
        allowed = torch.zeros(len(readouts), len(candidates), dtype=torch.bool)
        for number, readout in enumerate(readouts):
            columns = torch.searchsorted(candidates, readout.circuit.candidates).numpy()
            allowed[number, columns] = True
            rows = readout.rows.numpy()
            readout_of[rows] = number
            successor[rows[readout.sources]] = columns[readout.successor[readout.sources]]
        return cls(candidates, readout_of, successor, allowed)

    def said(
        self, logits: Float[Tensor, "prompts candidates"], rows: Int[np.ndarray, " prompts"]
    ) -> Int[np.ndarray, " prompts"]:
        """Columns of the elements with the largest logits, of each source's own candidates."""
        return self._own(logits, rows).argmax(1).numpy()

    def margin(
        self,
        logits: Float[Tensor, "prompts candidates"],
        rows: Int[np.ndarray, " prompts"],
    ) -> Float[np.ndarray, " prompts"]:
        """The successor's logit less the largest other one of the source's own candidates."""
        own, at = self._own(logits, rows), torch.from_numpy(self.successor[rows])[:, None]
        rivals = own.scatter(1, at, float("-inf")).amax(1)
        return (own.gather(1, at)[:, 0] - rivals).numpy()

    def _own(
        self, logits: Float[Tensor, "prompts candidates"], rows: Int[np.ndarray, " prompts"]
    ) -> Float[Tensor, "prompts candidates"]:
        mine = self.allowed[torch.from_numpy(self.readout_of[rows])]
        return logits.masked_fill(~mine, float("-inf"))
