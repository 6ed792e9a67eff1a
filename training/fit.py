"""Fitting an ensemble of sparse autoencoders to activations."""

import sys
from collections.abc import Callable
from contextlib import closing

import torch
from tqdm import tqdm

from lm.errors import OrdinalError
from lm.ordinals import FOLDS
from sae.ensemble import SAEEnsemble
from sae.relu import ReLUSAE
from training.activations import Activations
from training.config import TrainConfig
from training.member import MemberMetrics, MemberTask
from training.workers import available_cpus, fit_members

__all__ = ["MemberMetrics", "TrainConfig", "train"]

MEMORISING = 0.5
"""Latents per fitted token above which the dictionary tends to hold one latent a token."""


def train(
    activations: Activations,
    config: TrainConfig | None = None,
    *,
    progress: bool = True,
    log: Callable[[list[MemberMetrics]], None] | None = None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> SAEEnsemble:
    """Fit `config.members` SAEs; member s never sees the tokens of fold `s mod 5`.

    A member's result depends on its own seed and tokens alone: not on the number of members, nor
    on the processes that they run in.

    Args:
        config: the default suits the embedded model.
        progress: show a bar on stderr when it takes more than two seconds.
        log: called with the metrics of all members at one step, in the order of the steps, as soon
            as every member has come that far.
        say: takes the lines meant for people.

    Raises:
        OrdinalError: too few tokens, or a member diverged.
    """
    config = config or TrainConfig()
    tasks = [_task(activations, member, config) for member in range(config.members)]
    fewest = min(len(task.fit) for task in tasks)
    if fewest < 2:
        raise OrdinalError(
            f"{fewest} distinct tokens are left to fit after one fold in {FOLDS} is held out; "
            "give more tokens."
        )
    if config.latents > MEMORISING * fewest:
        say(
            f"Warning: {config.latents} latents on {fewest} distinct tokens will memorise them, "
            f"one latent a token; try latents: {max(2, fewest // 8)}."
        )
    fitted: dict[int, ReLUSAE] = {}
    by_step: dict[int, dict[int, MemberMetrics]] = {}
    workers = min(config.workers or available_cpus(), config.members)
    bar = tqdm(
        total=config.members * config.steps,
        desc="training",
        unit="step",
        unit_scale=True,
        delay=2,
        disable=None if progress else True,  # None: off where no one watches
    )
    with bar, closing(fit_members(tasks, workers)) as messages:
        reached = [0] * config.members
        for member, message in messages:
            if isinstance(message, ReLUSAE):
                fitted[member] = message
                continue
            bar.update(message.step - reached[member])
            reached[member] = message.step
            together = by_step.setdefault(message.step, {})
            together[member] = message
            if log is not None and len(together) == config.members:
                log([together[i] for i in range(config.members)])
    return SAEEnsemble(
        members=[fitted[member] for member in range(config.members)],
        seeds=[task.seed for task in tasks],
        held_out_folds=[member % FOLDS for member in range(config.members)],
        model_name=activations.model_name,
        hook_name=activations.hook_name,
    )


def _task(activations: Activations, member: int, config: TrainConfig) -> MemberTask:
    fold = member % FOLDS
    fit = torch.from_numpy(activations.fit_rows(fold))
    test = torch.from_numpy(activations.test_rows(fold))
    return MemberTask(member, activations.x[fit], activations.x[test], config)
