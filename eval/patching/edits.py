"""Sufficiency: every edit of every token, under an operator, read by the head (section 3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from eval.patching.operators import Add, Operator
from eval.patching.readout import Readout
from lm.errors import OrdinalError
from training.activations import Activations

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
"""Multiples of what the operator takes and gives. Directions that would need more (a probe's) have
the last: a random subspace exchanged twelvefold already moves most of M."""
DECADES = ((20, 60), (60, 100))
"""The scale is chosen on one range of numbers and tested on the other (first, last + 1)."""
CONTROLS = ("none", "random", "permuted")
RANDOM = 512
"""Random directions that the control draws from."""


class Edits(NamedTuple):
    """Every edit of one readout: positions of source and target, their residues, the answer."""

    source: Int[np.ndarray, " edits"]
    target: Int[np.ndarray, " edits"]
    i: Int[np.ndarray, " edits"]
    j: Int[np.ndarray, " edits"]
    expected: Int[np.ndarray, " edits"]
    """Position of the successor of the target, which the edit should make of the source."""

    def carries(self, modulus: int) -> Bool[np.ndarray, " edits"]:
        """Edits from or to the last residue, after which the next digit has to move too."""
        return (self.i == modulus - 1) | (self.j == modulus - 1)

    def where(self, keep: Shaped[np.ndarray, " kept"]) -> "Edits":
        """Those of a mask, or of positions."""
        return Edits(*(column[keep] for column in self))


def possible_edits(readout: Readout, modulus: int) -> Edits:
    """Every source and target residue j != i whose element exists and has a successor.

    The target keeps the source's multiple of the modulus: 47 with 3 is 43, and should say 44.
    """
    position = {int(index): at for at, index in enumerate(readout.index)}
    rows = []
    for at, index in enumerate(readout.index):
        if readout.successor[at] < 0:
            continue
        i = index % modulus
        for j in range(modulus):
            target = position.get(int(index - i + j))
            if j != i and target is not None and readout.successor[target] >= 0:
                rows.append((at, target, i, j, readout.successor[target]))
    return Edits(*np.array(rows, dtype=int).reshape(-1, 5).T)


@dataclass(frozen=True)
class EditedReadout:
    """One operator at one readout: what the head reads of M, of what is taken, and of what is
    given. Its logits after any edit are `base[source] + scale (given[target] - taken[source])`."""

    readout: Readout
    base: Float[Tensor, "elements candidates"]
    taken: Float[Tensor, "elements candidates"]
    given: Float[Tensor, "elements candidates"]
    moved: Float[Tensor, "elements elements"]
    """Length of the change of M, by source and target, at scale 1."""

    @classmethod
    def of(cls, operator: Operator, activations: Activations, readout: Readout) -> "EditedReadout":
        """Read everything once: three products, whatever the number of edits and scales."""
        m, logits = activations.x[readout.rows], readout.circuit.logits
        taken, given = operator.taken(m, readout.rows), operator.given(readout.rows)
        return cls(readout, logits(m), logits(taken), logits(given), torch.cdist(taken, given))

    def logits(self, edits: Edits, scale: float | Tensor) -> Float[Tensor, "edits candidates"]:
        """What the head reads after the edits."""
        source, target = torch.from_numpy(edits.source), torch.from_numpy(edits.target)
        return self.base[source] + scale * (self.given[target] - self.taken[source])

    def succeeds(self, edits: Edits, scales: Sequence[float]) -> Bool[np.ndarray, "scales edits"]:
        """Whether the head writes the target's successor, at each scale."""
        expected = torch.from_numpy(edits.expected)
        found = [self.logits(edits, scale).argmax(1) == expected for scale in scales]
        return torch.stack(found).numpy()

    def split(self, edits: Edits) -> np.ndarray:
        """Which scale an edit takes: by decades for numbers, `all` for words."""
        index = self.readout.index[edits.source]
        if self.readout.task != "numbers":
            return np.full(len(index), "all")
        conditions = [(index >= low) & (index < high) for low, high in DECADES]
        return np.select(conditions, ["20-59", "60-99"], "other")


def operator_edits(
    operators: Sequence[Operator],
    activations: Activations,
    readouts: Sequence[Readout],
    *,
    controls: Sequence[str] = CONTROLS,
    seed: int = 0,
) -> pd.DataFrame:
    """Every edit of every held-out source, by each operator and with each control.

    The scale is chosen by success on tokens that the directions were fitted on: for the numbers of
    some decades on those of the others, for all other numbers on 20-99, for the words of a task on
    its own. Controls use the scale of the edit that they accompany: `random` moves M as far along a
    random direction, `permuted` makes an edit of the task between other residues.

    Args:
        operators: those of a swap have held-out targets, all others held-out sources.
        activations: M(t).
        readouts: of the chosen head.
        controls: of `CONTROLS`; `none` is the edit itself.
        seed: of the controls.

    Returns:
        One row per edit: `operator`, `directions` (their source), `rank` (of the
        subspace that it moves M in), `member`, `control`, `task`,
        `text`, `index`, `target` (index), `i`, `j`, `split`, `fitted` (success where the scale was
        chosen), `scale`, `k` (the scale times the
        class contrast, for `add`), `written` (index), `expected` (index), `success`, `last_digit`,
        `logit_gain` (change of the expected token's logit less the change of the unedited
        successor's, through the head).

    Raises:
        OrdinalError: no edit can be tested.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    random = torch.nn.functional.normalize(
        torch.randn(RANDOM, activations.x.shape[1], generator=generator), dim=1
    )
    along_random = [readout.circuit.logits(random) for readout in readouts]
    parts: list[dict[str, np.ndarray]] = []
    for operator in operators:
        for at, (one, every, edits, chosen) in enumerate(
            held_out_edits(operator, activations, readouts)
        ):
            if len(edits.source) == 0:
                continue
            split = one.split(edits)
            scale = torch.tensor([choice.scale for choice in chosen])[:, None]
            for control in controls:
                if control == "random":
                    picked = along_random[at][rng.integers(RANDOM, size=len(split))]
                    moved = one.moved[edits.source, edits.target][:, None] * picked
                    after = one.base[edits.source] + scale * moved
                elif control == "permuted":
                    elsewhere = _others(edits, every, rng)
                    change = one.logits(elsewhere, scale) - one.base[elsewhere.source]
                    after = one.base[edits.source] + change
                else:
                    after = one.logits(edits, scale)
                parts.append(
                    _outcome(operator, activations, one, edits, after)
                    | {
                        "control": np.full(len(split), control),
                        "split": split,
                        "fitted": np.array([choice.fitted for choice in chosen]),
                        "scale": scale[:, 0].numpy(),
                        "k": scale[:, 0].numpy()
                        * (operator.contrast if isinstance(operator, Add) else np.nan),
                    }
                )
    if not parts:
        raise OrdinalError(
            "No edit can be tested: no token that the directions were not fitted on has a target "
            "of another residue in its task. More tokens are needed (`tokens: {numbers: ...}`)."
        )
    return pd.DataFrame({name: np.concatenate([p[name] for p in parts]) for name in parts[0]})


class Choice(NamedTuple):
    """A scale, chosen where edits are not reported."""

    scale: float
    fitted: float
    """Success where it was chosen."""


class HeldOut(NamedTuple):
    """The edits of one readout that may be reported, with the scale of each."""

    edited: EditedReadout
    every: Edits
    """All that can be made, fitted ones among them."""
    edits: Edits
    choices: list[Choice]


def held_out_edits(
    operator: Operator, activations: Activations, readouts: Sequence[Readout]
) -> list[HeldOut]:
    """The edits whose outcome played no part in fitting the operator or choosing its scale."""
    edited = [EditedReadout.of(operator, activations, readout) for readout in readouts]
    everything = [_possible(operator, readout) for readout in readouts]
    scales = _chosen_scales(operator, edited, everything)
    out = []
    for one, every in zip(edited, everything, strict=True):
        edits = every.where(_reported(operator, one.readout, every))
        choices = [scales[one.readout.task, name] for name in one.split(edits)]
        out.append(HeldOut(one, every, edits, choices))
    return out


def _possible(operator: Operator, readout: Readout) -> Edits:
    """The edits of a readout whose targets the operator can give."""
    edits = possible_edits(readout, operator.directions.modulus)
    return edits.where(operator.can_give()[readout.rows].numpy()[edits.target])


def _reported(operator: Operator, readout: Readout, edits: Edits) -> Bool[np.ndarray, " edits"]:
    """Edits whose outcome played no part in fitting the operator."""
    held_out = operator.directions.held_out[readout.rows].numpy()
    return held_out[getattr(edits, operator.unseen)]


def _others(edits: Edits, everything: Edits, rng: np.random.Generator) -> Edits:
    """For each edit, one of the readout with another source and another target residue."""
    picked = np.empty(len(edits.source), dtype=int)
    for i, j in np.unique(np.stack([edits.i, edits.j], 1), axis=0):
        here = (edits.i == i) & (edits.j == j)
        other = np.flatnonzero((everything.i != i) & (everything.j != j))
        picked[here] = rng.choice(other if len(other) else len(everything.i), here.sum())
    return everything.where(picked)


def _chosen_scales(
    operator: Operator, edited: Sequence[EditedReadout], possible_edits: Sequence[Edits]
) -> dict[tuple[str, str], Choice]:
    """The scale of each task and split: the one with most successes where it is not reported.

    Carries do not count where there are others. Of several scales that are equally good the middle
    one: the ends of a plateau are its edges. Where none succeeds, 1.
    """
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for one, everything in zip(edited, possible_edits, strict=True):
        fitted = everything.where(~_reported(operator, one.readout, everything))
        plain = ~fitted.carries(operator.directions.modulus)
        fitted = fitted.where(plain) if plain.any() else fitted
        success = one.succeeds(fitted, SCALES)
        split = one.split(fitted)
        task = one.readout.task
        other = {"20-59": ["60-99"], "60-99": ["20-59"], "other": ["20-59", "60-99"]}
        for name, chosen_on in (other if task == "numbers" else {"all": ["all"]}).items():
            found.setdefault((task, name), []).append(success[:, np.isin(split, chosen_on)])
    return {key: _best(np.concatenate(parts, 1)) for key, parts in found.items()}


def _best(success: Bool[np.ndarray, "scales edits"]) -> Choice:
    successes = success.sum(1)
    if not successes.any():
        return Choice(1.0, 0.0)
    best = np.flatnonzero(successes == successes.max())
    middle = int(best[len(best) // 2])
    return Choice(SCALES[middle], successes[middle] / max(success.shape[1], 1))


def _outcome(
    operator: Operator,
    activations: Activations,
    one: EditedReadout,
    edits: Edits,
    after: Float[Tensor, "edits candidates"],
) -> dict[str, np.ndarray]:
    readout, n = one.readout, len(edits.source)
    written = after.argmax(1).numpy()
    change = after - one.base[edits.source]
    at = torch.arange(n)
    gain = change[at, edits.expected] - change[at, readout.successor[edits.source]]
    index = readout.index
    texts = activations.tokens.table["text"].to_numpy(object)[readout.rows.numpy()]
    return {
        "operator": np.full(n, operator.name),
        "directions": np.full(n, operator.directions.source),
        "rank": np.full(n, operator.rank),
        "member": np.full(n, operator.directions.member),
        "task": np.full(n, readout.task),
        "text": texts[edits.source],
        "index": index[edits.source],
        "i": edits.i,
        "j": edits.j,
        "target": index[edits.target],
        "written": index[written],
        "expected": index[edits.expected],
        "success": written == edits.expected,
        "last_digit": index[written] % 10 == index[edits.expected] % 10,
        "logit_gain": gain.numpy(),
    }
