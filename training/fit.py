"""Fitting an ensemble of sparse autoencoders to activations."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lm.errors import OrdinalError, UsageError
from lm.ordinals import FOLDS
from sae.autoencoder import SAE
from sae.ensemble import SAEEnsemble
from training.activations import Activations
from training.checkpoint import EVERY, Checkpoints, identity
from training.config import TrainConfig
from training.inputs import Inputs
from training.loop import Group
from training.memory import check_memory
from training.metrics import MemberMetrics
from training.workers import Task, available_cpus, fit_tasks

__all__ = ["MemberMetrics", "TrainConfig", "train"]

MEMORISING = 0.5
"""Latents per fitted token above which the dictionary tends to hold one latent a token."""


def train(
    activations: Activations,
    config: TrainConfig | None = None,
    *,
    progress: bool = True,
    checkpoints: Path | None = None,
    checkpoint_every: float = EVERY,
    log: Callable[[list[MemberMetrics]], None] | None = None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> SAEEnsemble:
    """Fit `config.members` SAEs; member s never sees the tokens of fold `s mod 5`.

    A member's result depends on its own seed and tokens alone: not on the number of members, nor
    on the processes that they run in.

    Args:
        config: the default suits the embedded model.
        progress: show a bar on stderr when it takes more than two seconds.
        checkpoints: a folder for them; a training that finds its own goes on from there, and ends
            with the same weights, bit for bit, as if it had never stopped.
        checkpoint_every: seconds between checkpoints; there is one at Ctrl-C too.
        log: called with the metrics of all members at one step, in the order of the steps, as soon
            as every member has come that far.
        say: takes the lines meant for people.

    Raises:
        OrdinalError: too few tokens, too little memory, or a member diverged.
        UsageError: `device: cuda` without a GPU.
    """
    config = config or TrainConfig()
    device = _device(config)
    folds = [member % FOLDS for member in range(config.members)]
    sizes = [[len(rows) for rows in _rows(activations, fold, config)] for fold in set(folds)]
    fewest = min(fit for fit, _, _ in sizes)
    if config.patience and not all(stop for _, _, stop in sizes):
        raise OrdinalError("A fold has no tokens for early stopping; leave out `patience`.")
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
    workers = min(config.workers or available_cpus(), config.members)
    check_memory(config, activations.x.shape, workers, device)
    inputs = {fold: _inputs(activations, fold, config) for fold in sorted(set(folds))}
    tasks = [
        Task(group, device, _checkpoints(group, checkpoints, checkpoint_every))
        for group in _groups(inputs, config, 1 if device == "cpu" else config.members)
    ]
    fitted: dict[int, SAE] = {}
    reported = _Reports(config.members, log or (lambda members: None))
    bar = tqdm(
        total=config.members * config.steps,
        desc="training",
        unit="step",
        unit_scale=True,
        delay=2,
        disable=None if progress else True,  # None: off where no one watches
    )
    with bar, closing(fit_tasks(tasks, workers)) as messages:
        for members, message in messages:
            for member, one in zip(members, message, strict=True):
                if isinstance(one, SAE):
                    fitted[member] = one
                else:
                    bar.update(reported.add(one))
    return SAEEnsemble(
        members=[fitted[member] for member in range(config.members)],
        seeds=[config.seed + member for member in range(config.members)],
        held_out_folds=folds,
        model_name=activations.model_name,
        hook_name=activations.hook_name,
    )


class _Reports:
    """Puts the members' reports in the order of the steps."""

    def __init__(self, members: int, log: Callable[[list[MemberMetrics]], None]) -> None:
        self._log = log
        self._reached = [0] * members
        self._by_step: dict[int, dict[int, MemberMetrics]] = {}

    def add(self, one: MemberMetrics) -> int:
        """Log what every member has now come past; returns the steps since its last report."""
        ahead = one.step - self._reached[one.member]
        self._reached[one.member] = one.step
        self._by_step.setdefault(one.step, {})[one.member] = one
        for step in sorted(step for step in self._by_step if step <= min(self._reached)):
            at_step = self._by_step.pop(step)
            self._log([at_step[member] for member in sorted(at_step)])
        return ahead


def _device(config: TrainConfig) -> str:
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("`device: cuda`, but PyTorch sees no GPU here. Use `device: auto`.")
    if config.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return config.device


def _rows(activations: Activations, fold: int, config: TrainConfig) -> Sequence[np.ndarray]:
    """Rows to fit on, held out for testing, and held out for early stopping."""
    fit, test = activations.fit_rows(fold), activations.test_rows(fold)
    if config.patience is None:
        return fit, test, fit[:0]
    stop = np.setdiff1d(activations.test_rows((fold + 1) % FOLDS), test)
    return np.setdiff1d(fit, stop), test, stop


def _inputs(activations: Activations, fold: int, config: TrainConfig) -> Inputs:
    sets = (activations.x[torch.from_numpy(rows)] for rows in _rows(activations, fold, config))
    return Inputs.prepare(*sets, subspace=config.subspace)


def _groups(inputs: Mapping[int, Inputs], config: TrainConfig, together: int) -> Iterator[Group]:
    for first in range(0, config.members, together):
        members = range(first, min(first + together, config.members))
        yield Group(members, [inputs[member % FOLDS] for member in members], config)


def _checkpoints(group: Group, folder: Path | None, every: float) -> Checkpoints:
    path = folder / f"{group.members[0]:03d}.safetensors" if folder else None
    return Checkpoints(path, identity(group.members, group.config, group.inputs), every)
