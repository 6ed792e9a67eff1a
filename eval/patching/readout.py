"""The chosen head's reading of any edited M(t), task by task and spelling by spelling."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm.access import LanguageModel
from lm.circuit import HeadCircuit, head_circuit, succeeds
from lm.ordinals import NO_SUCCESSOR, OrdinalTokens


@dataclass(frozen=True)
class Readout:
    """One task in one spelling: its elements in order, and the head's circuit onto them."""

    task: str
    rows: Int[Tensor, " elements"]
    """Rows of the `OrdinalTokens`, by index."""
    index: Int[np.ndarray, " elements"]
    successor: Int[np.ndarray, " elements"]
    """Position of each element's successor among the elements; -1 where there is none."""
    circuit: HeadCircuit

    @property
    def sources(self) -> np.ndarray:
        """Positions of the elements that have a successor."""
        return np.flatnonzero(self.successor >= 0)

    def predicted(self, m: Float[Tensor, "... d_model"]) -> Int[Tensor, "..."]:
        """Position of the element that the head writes most."""
        return self.circuit.logits(m).argmax(-1)

    def succeeds(self, m: Float[Tensor, "sources d_model"], positions: np.ndarray) -> np.ndarray:
        """Whether the head, reading rows of `m`, writes the successors of the elements given."""
        targets = torch.as_tensor(self.successor[positions])
        return succeeds(self.circuit.logits(m), targets).numpy()


def readouts(model: LanguageModel, tokens: OrdinalTokens, layer: int, head: int) -> list[Readout]:
    """The readouts of one head, for every task and spelling that has a successor in it."""
    out = []
    for (task, _), rows in tokens.table.groupby(["task", "form"], sort=False):
        rows = rows.sort_values("index")
        position = {token: at for at, token in enumerate(rows["token_id"])}
        successor = np.array([position.get(token, -1) for token in rows["successor"]])
        if (rows["successor"] == NO_SUCCESSOR).all():
            continue
        candidates = torch.tensor(rows["token_id"].to_numpy())
        out.append(
            Readout(
                str(task),
                torch.tensor(rows.index.to_numpy()),
                rows["index"].to_numpy(),
                successor,
                head_circuit(model, layer, head, candidates),
            )
        )
    return out


def margin(
    logits: Float[Tensor, "sources candidates"], targets: Int[Tensor, " sources"]
) -> Float[Tensor, " sources"]:
    """The target's logit less the highest of the others: positive where the target is written."""
    at = targets[:, None]
    rivals = logits.scatter(1, at, float("-inf")).amax(1)
    return logits.gather(1, at)[:, 0] - rivals
