"""Which prompts are reported: templates chosen, and heads' means taken, on half of the elements."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eval.context.answers import Answers
from eval.context.paths import HeadInContext, MeanAblation
from eval.context.prompts import Prompt, Prompts, batches, make_prompts
from eval.heads.successor import HeadChoice
from eval.patching.readout import Readout
from features.statistics import clusters
from lm.ordinals import OrdinalTokens

if TYPE_CHECKING:
    from lm.bridged import BridgedModel


@dataclass(frozen=True)
class Family:
    """One family's prompts for the elements that nothing was chosen on."""

    name: str
    templates: tuple[str, ...]
    """The one chosen in each spelling."""
    prompts: tuple[Prompt, ...]
    without_head: MeanAblation
    without_runner_up: MeanAblation
    """Their means are over the other half of the elements, of all tasks."""

    @property
    def rows(self) -> Int[np.ndarray, " prompts"]:
        """Of the sources in the `OrdinalTokens`."""
        return np.array([prompt.row for prompt in self.prompts])


@dataclass(frozen=True)
class Context:
    """The families of one model, ready to be run, and those that were left out."""

    tokens: OrdinalTokens
    readouts: tuple[Readout, ...]
    head: HeadInContext
    answers: Answers
    families: tuple[Family, ...]
    left_out: dict[str, str]
    """Reason by family."""


class _Half(NamedTuple):
    """One template on the elements that are chosen on."""

    template: Prompts
    prompts: list[Prompt]
    score: float
    """Accuracy of the whole model, mean over tasks."""
    z: Float[Tensor, "prompts d_head"]
    """The head's output at the last position."""


def prepare(
    model: "BridgedModel",
    tokens: OrdinalTokens,
    readouts: Sequence[Readout],
    choice: HeadChoice,
    *,
    seed: int = 0,
) -> Context:
    """Write the prompts, and choose among them.

    Args:
        model: runs the prompts.
        tokens: the elements.
        readouts: of the chosen head.
        choice: the head, and the runner-up that is its control.
        seed: of the halves and of the words between the elements.

    Raises:
        OrdinalError: the bridge has not all the hooks for this model.
    """
    answers = Answers.of(tokens, readouts)
    head = HeadInContext(model, choice.layer, choice.head, answers.candidates)
    runner_up = HeadInContext(
        model, choice.runner_up_layer, choice.runner_up_head, answers.candidates
    )
    made, left_out = make_prompts(model, tokens, readouts, seed=seed)
    chosen_on = _chosen_on(tokens, seed)
    reasons, families = dict(left_out), []
    for name in dict.fromkeys(prompts.family for prompts in made):
        best: dict[str, _Half] = {}
        for prompts in made:
            on = chosen_on[prompts.rows]
            if prompts.family != name or on.all() or not on.any():
                continue
            half = _half(prompts, on, head, answers, tokens)
            if prompts.spelling not in best or half.score > best[prompts.spelling].score:
                best[prompts.spelling] = half
        if best:
            families.append(_family(list(best.values()), chosen_on, head, runner_up))
        else:
            reasons[name] = "too few elements to choose on one half and report on the other"
    return Context(tokens, tuple(readouts), head, answers, tuple(families), reasons)


def _chosen_on(tokens: OrdinalTokens, seed: int) -> Bool[np.ndarray, " tokens"]:
    """Half of the elements; a token counts if any of its rows does: `May` is also a prefix."""
    element = clusters(tokens.table)
    rng = np.random.default_rng(seed)
    half = pd.Series(rng.permuted(np.arange(element.max() + 1) % 2)[element] == 1)
    return half.groupby(tokens.table["token_id"]).transform("any").to_numpy(copy=True)


def _half(
    template: Prompts,
    on: Bool[np.ndarray, " prompts"],
    head: HeadInContext,
    answers: Answers,
    tokens: OrdinalTokens,
) -> _Half:
    half = [template.prompts[at] for at in np.flatnonzero(on)]
    rows, z = template.rows[on], torch.empty(len(half), head.model.info.d_head)
    right = np.empty(len(rows))
    for part, ids in batches(half):
        run = head.run(ids)
        z[part], right[part] = run.z, answers.margin(run.logits, rows[part]) > 0
    task = tokens.table["task"].to_numpy()[rows]
    score = np.mean([right[task == name].mean() for name in np.unique(task)])
    return _Half(template, half, float(score), z)


def _family(
    halves: Sequence[_Half],
    chosen_on: Bool[np.ndarray, " tokens"],
    head: HeadInContext,
    runner_up: HeadInContext,
) -> Family:
    reported = [p for half in halves for p in half.template.prompts if not chosen_on[p.row]]
    others = [prompt for half in halves for prompt in half.prompts]
    mean = torch.cat([half.z for half in halves]).mean(0)
    mean_runner_up = torch.cat([runner_up.run(ids).z for _, ids in batches(others)]).mean(0)
    return Family(
        halves[0].template.family,
        tuple(half.template.template for half in halves),
        tuple(reported),
        MeanAblation(head.layer, head.head, mean),
        MeanAblation(runner_up.layer, runner_up.head, mean_runner_up),
    )
