"""The trainers that are compared, each from its initialisation to the finished SAE.

All minimise `mean_t |x_t - xhat_t|^2 + l1 * mean_t sum_j f_tj |W_dec_j|` (see `measure.evaluate`).
In the versions compared here that is literally the loss of both libraries, so that one coefficient
serves all: SAELens (6.54) sums the squared error over d_in, takes the mean over the batch and
weighs each latent by the norm of its decoder row; dictionary_learning (0.1.0) sums and averages
alike and keeps the rows at norm one, where the weights are one.

What stays each library's own: its initialisation (all start with b_dec at the mean of the rows,
which is a favour to both libraries), Adam as it calls it, and SAELens's clipping of the gradients'
norm at 1, which cannot be switched off.

Run as a program, `python -m benchmarks.peers JSON` measures one trainer in a process of its own.
"""

import contextlib
import importlib
import importlib.util
import json
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.measure import (
    Clock,
    Fitted,
    Seconds,
    Settings,
    activations,
    batches,
    evaluate,
    floor,
)
from training.checkpoint import Checkpoints
from training.config import TrainConfig
from training.inputs import Inputs
from training.loop import Group, fit_group
from training.metrics import MemberMetrics
from training.workers import Task, available_cpus, fit_tasks


def ours(
    x: Float[Tensor, "rows d_in"], settings: Settings, clock: Clock, encode: str = "float32"
) -> Fitted:
    """This project's trainer; its own reports, which cost it time, are its curve."""
    group = Group([0], [Inputs.prepare(x, x[:0])], _config(settings, encode=encode))
    for message in fit_group(group, "cpu", Checkpoints(None, "")):
        if isinstance(message[0], MemberMetrics):
            clock.told(message[0].loss)
        else:
            (sae,) = message
    return Fitted(**sae.tensors())


def ours_bfloat16(x: Float[Tensor, "rows d_in"], settings: Settings, clock: Clock) -> Fitted:
    """The same with the encoder's product in bfloat16."""
    return ours(x, settings, clock, "bfloat16")


def _config(settings: Settings, **more: object) -> TrainConfig:
    return TrainConfig(
        latents=settings.latents,
        l1=settings.l1,
        batch=settings.batch,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        warm_up=settings.warm_up,
        decay=settings.decay,
        sparsity_warm_up=settings.l1_warm_up,
        seed=settings.seed,
        **more,
    )


def ours_ensemble(x: Float[Tensor, "rows d_in"], members: int, settings: Settings) -> list[Fitted]:
    """This project's trainer on `members` seeds, a process for each core, as `train` does it."""
    config, fold = _config(settings, members=members), Inputs.prepare(x, x[:0])
    tasks = [
        Task(Group([i], [fold], config), "cpu", Checkpoints(None, "")) for i in range(members)
    ]
    fitted = {}
    for numbers, message in fit_tasks(tasks, min(members, available_cpus())):
        if not isinstance(message[0], MemberMetrics):
            fitted[numbers[0]] = Fitted(**message[0].tensors())
    return [fitted[member] for member in range(members)]


def plain(x: Float[Tensor, "rows d_in"], settings: Settings, clock: Clock) -> Fitted:
    """What one would write in PyTorch: autograd, Adam, decoder rows renormalised after each step.

    Adam is the fused one, which is the fastest of PyTorch's three on a CPU.
    """
    torch.manual_seed(settings.seed)
    W_dec = torch.randn(settings.latents, settings.d_in)
    W_dec /= W_dec.norm(dim=1, keepdim=True)
    sae = Fitted(W_dec.T.contiguous(), torch.zeros(settings.latents), W_dec, x.mean(0))
    for parameter in sae:
        parameter.requires_grad_()
    adam = torch.optim.Adam(sae, lr=settings.learning_rate, fused=True)
    rise, fall = settings.share(settings.warm_up), settings.share(settings.decay)
    warm = settings.share(settings.l1_warm_up)
    for step, batch in zip(range(1, settings.steps + 1), batches(x, settings), strict=False):
        f = torch.relu((batch - sae.b_dec) @ sae.W_enc + sae.b_enc)
        error = batch - f @ sae.W_dec - sae.b_dec
        penalty = (f * sae.W_dec.norm(dim=1)).sum(1).mean()
        loss = error.square().sum(1).mean() + settings.l1 * min(1, step / warm) * penalty
        adam.zero_grad()
        loss.backward()
        share = min(1.0, step / rise, (settings.steps + 1 - step) / fall)
        adam.param_groups[0]["lr"] = settings.learning_rate * share
        adam.step()
        with torch.no_grad():
            W_dec /= W_dec.norm(dim=1, keepdim=True)
        clock.record(step, lambda: sae)
    return sae


def saelens(x: Float[Tensor, "rows d_in"], settings: Settings, clock: Clock) -> Fitted:
    """SAELens's `SAETrainer` on its `StandardTrainingSAE`.

    Nothing is logged, saved or cast. The window of its sparsity statistics is longer than the run,
    which spares it a histogram.
    """
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(settings.seed)
    sae = StandardTrainingSAE(
        StandardTrainingSAEConfig(
            d_in=settings.d_in,
            d_sae=settings.latents,
            l1_coefficient=settings.l1,
            l1_warm_up_steps=settings.share(settings.l1_warm_up),
        )
    )
    sae.b_dec.data.copy_(x.mean(0))

    def snapshot() -> Fitted:
        return Fitted(sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec)

    def provider() -> Iterator[Tensor]:  # its loop has no callback: asking for data is one
        for step, batch in enumerate(batches(x, settings)):
            clock.record(step, snapshot)
            yield batch

    config = SAETrainerConfig(
        total_training_samples=settings.steps * settings.batch,
        train_batch_size_samples=settings.batch,
        lr=settings.learning_rate,
        lr_end=settings.learning_rate,
        lr_warm_up_steps=settings.share(settings.warm_up),
        lr_decay_steps=settings.share(settings.decay),
        feature_sampling_window=settings.steps + 1,
        logger=LoggingConfig(log_to_wandb=False),
    )
    SAETrainer(config, sae, provider()).fit()
    return snapshot()


def dictionary_learning(x: Float[Tensor, "rows d_in"], settings: Settings, clock: Clock) -> Fitted:
    """dictionary_learning's `StandardTrainer`, by its `update`, without resampling.

    Its `trainSAE` is this loop with a progress bar. Neither that nor the package can be imported
    without nnsight, which brings another PyTorch by way of torchvision: so the submodule is loaded
    as it is, and the package's own `__init__` left out.
    """
    if "dictionary_learning" not in sys.modules:
        spec = importlib.util.find_spec("dictionary_learning")
        if spec is None:
            raise ModuleNotFoundError("No module named 'dictionary_learning'")
        package = types.ModuleType("dictionary_learning")
        package.__path__ = list(spec.submodule_search_locations or [])
        sys.modules["dictionary_learning"] = package
    standard = importlib.import_module("dictionary_learning.trainers.standard")

    decay_start = settings.steps - settings.share(settings.decay)
    trainer = standard.StandardTrainer(
        steps=settings.steps,
        activation_dim=settings.d_in,
        dict_size=settings.latents,
        layer=0,
        lm_name="",
        lr=settings.learning_rate,
        l1_penalty=settings.l1,
        warmup_steps=settings.share(settings.warm_up),
        # It insists that the penalty has risen before the learning rate falls.
        sparsity_warmup_steps=min(settings.share(settings.l1_warm_up), decay_start - 1),
        decay_start=decay_start,
        seed=settings.seed,
        device="cpu",
    )
    ae = trainer.ae
    ae.bias.data.copy_(x.mean(0))

    def snapshot() -> Fitted:
        return Fitted(ae.encoder.weight.T, ae.encoder.bias, ae.decoder.weight.T, ae.bias)

    for step, batch in zip(range(settings.steps), batches(x, settings), strict=False):
        trainer.update(step, batch)
        clock.record(step + 1, snapshot)
    return snapshot()


Trainer = Callable[[Tensor, Settings, Clock], Fitted]
TRAINERS: dict[str, Trainer] = {
    "ours": ours,
    "ours, bfloat16 encode": ours_bfloat16,
    "SAELens": saelens,
    "dictionary_learning": dictionary_learning,
    "plain PyTorch": plain,
}


def measure_one(name: str, settings: Settings) -> dict:
    """One whole run of a trainer, its curve and its SAE's quality, beside the floor."""
    x = activations(settings)
    TRAINERS[name](x, settings.tiny(), Clock(x, settings.tiny()))
    clock = Clock(x, settings)
    sae = TRAINERS[name](x, settings, clock)
    spent = clock.spent()
    quality = evaluate(x, sae, settings.l1)
    curve = [*clock.curve, (spent.cpu, quality.loss)]
    return {
        **spent._asdict(),
        **quality._asdict(),
        "floor": floor(settings),
        "threads": torch.get_num_threads(),
        "curve": curve,
    }


def measure_members(name: str, settings: Settings, members: int) -> dict:
    """Seconds of `members` SAEs: of the ensemble for ours, one after the other for the rest."""
    x = activations(settings)
    TRAINERS[name](x, settings.tiny(), Clock(x, settings.tiny()))
    clock, saes, marks = Clock(x, settings), [], []
    clock.due.clear()  # no curve
    if name == "ours":
        saes = ours_ensemble(x, members, settings)
        marks = [clock.spent()]
    else:
        for seed in range(settings.seed, settings.seed + members):
            saes.append(TRAINERS[name](x, replace(settings, seed=seed), clock))
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
    """Measure what the argument says; the last line on stdout is the result."""
    job = json.loads(sys.argv[1])
    settings = Settings(**job["settings"])
    try:
        with contextlib.redirect_stdout(sys.stderr):
            if job["members"]:
                result = measure_members(job["trainer"], settings, job["members"])
            else:
                result = measure_one(job["trainer"], settings)
    except NotImplementedError:
        result = {"skipped": "not written yet"}
    except ModuleNotFoundError as error:
        result = {"skipped": str(error)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
