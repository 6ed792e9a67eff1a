"""One measurement in a process of its own: `python -m benchmarks.process JSON`.

The last line on stdout is the result. Each trainer is run for a few steps before its clock starts,
so that what it imports or compiles late is not counted.
"""

import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks import peers
from benchmarks.measure import Clock, Fitted, Seconds, Settings, activations, evaluate, floor
from lm.errors import OrdinalError
from training.checkpoint import Checkpoints
from training.config import TrainConfig
from training.inputs import Inputs
from training.loop import Group, fit_group
from training.metrics import MemberMetrics
from training.workers import Task, available_cpus, fit_tasks


def ours(
    x: Float[Tensor, "rows d_in"], settings: Settings, clock: Clock, **chosen: object
) -> Fitted:
    """This project's trainer; its own reports, which cost it time, are its curve.

    Args:
        chosen: further fields of `TrainConfig`.
    """
    config = _config(settings, **chosen)
    inputs = Inputs.prepare(x, x[:0], subspace=config.subspace)
    for message in fit_group(Group([0], [inputs], config), "cpu", Checkpoints(None, "")):
        if isinstance(message[0], MemberMetrics):
            clock.told(message[0].loss)
        else:
            (sae,) = message
    return Fitted(**sae.tensors())


def ours_ensemble(
    x: Float[Tensor, "rows d_in"], members: int, settings: Settings, **chosen: object
) -> list[Fitted]:
    """This project's trainer on `members` seeds, a process for each core, as `train` does it."""
    config, fold = _config(settings, members=members, **chosen), Inputs.prepare(x, x[:0])
    tasks = [Task(Group([i], [fold], config), "cpu", Checkpoints(None, "")) for i in range(members)]
    fitted = {}
    for numbers, message in fit_tasks(tasks, min(members, available_cpus())):
        if not isinstance(message[0], MemberMetrics):
            fitted[numbers[0]] = Fitted(**message[0].tensors())
    return [fitted[member] for member in range(members)]


def _config(settings: Settings, **chosen: object) -> TrainConfig:
    return TrainConfig(
        latents=settings.latents,
        l1=settings.l1,
        batch=settings.batch,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        warm_up=settings.warm_up,
        decay=settings.decay,
        sparsity_warm_up=settings.l1_warm_up,
        sparsity_start=settings.l1_start,
        encoder_norm=settings.encoder_norm,
        seed=settings.seed,
        **chosen,
    )


TRAINERS: dict[str, Callable[..., Fitted]] = {
    "ours": ours,
    "SAELens": peers.saelens,
    "dictionary_learning": peers.dictionary_learning,
    "plain PyTorch": peers.plain,
}


def measure_one(trainer: str, settings: Settings, chosen: dict) -> dict:
    """One whole run of a trainer, its curve and its SAE's quality, beside the floor."""
    x, held_out = activations(settings)
    fit = TRAINERS[trainer]
    fit(x, settings.tiny(), Clock(x, settings.tiny()), **chosen)
    clock = Clock(x, settings)
    sae = fit(x, settings, clock, **chosen)
    spent = clock.spent()
    quality = evaluate(x, sae, settings.l1)
    return {
        **spent._asdict(),
        **quality._asdict(),
        "held_out": evaluate(held_out, sae, settings.l1)._asdict() if len(held_out) else None,
        "floor": floor(settings),
        "threads": torch.get_num_threads(),
        "curve": [*clock.curve, (spent.cpu, quality.loss)],
    }


def measure_members(trainer: str, settings: Settings, chosen: dict, members: int) -> dict:
    """Seconds of `members` SAEs: of the ensemble for ours, one after the other for the rest."""
    x, _ = activations(settings)
    fit = TRAINERS[trainer]
    fit(x, settings.tiny(), Clock(x, settings.tiny()), **chosen)
    clock, saes, marks = Clock(x, settings), [], []
    clock.due.clear()  # no curve
    if trainer == "ours":
        saes = ours_ensemble(x, members, settings, **chosen)
        marks = [clock.spent()]
    else:
        for seed in range(settings.seed, settings.seed + members):
            saes.append(fit(x, replace(settings, seed=seed), clock, **chosen))
            marks.append(clock.spent())
    each = [after.since(before) for before, after in pairwise([Seconds(0, 0), *marks])]
    losses = [evaluate(x, sae, settings.l1).loss for sae in saes]
    return {
        **marks[-1]._asdict(),
        "each": each,
        "loss": sum(losses) / members,
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Measure what the argument says."""
    job = json.loads(sys.argv[1])
    trainer, settings, chosen = job["trainer"], Settings(**job["settings"]), job["chosen"]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            if job["members"]:
                result = measure_members(trainer, settings, chosen, job["members"])
            else:
                result = measure_one(trainer, settings, chosen)
    except ModuleNotFoundError as error:
        result = {"skipped": str(error)}
    except OrdinalError as error:  # a loss that is no longer a number
        result = {"diverged": str(error)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
