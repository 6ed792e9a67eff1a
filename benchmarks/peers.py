"""The trainers that this project's is compared with, each from its start to the finished SAE.

All minimise `mean_t |x_t - xhat_t|^2 + l1 * mean_t sum_j f_tj |W_dec_j|` (see `measure.evaluate`).
In the versions compared here that is literally the loss of both libraries, so that one coefficient
serves all: SAELens (6.54) sums the squared error over d_in, takes the mean over the batch and
weighs each latent by the norm of its decoder row; dictionary_learning (0.1.0) sums and averages
alike and keeps the rows at norm one, where the weights are one.

What stays each library's own: its initialisation (all start with b_dec at the mean of the rows,
which is a favour to both libraries), Adam as it calls it, and SAELens's clipping of the gradients'
norm at 1, which cannot be switched off.
"""

import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.measure import Clock, Fitted, Settings, batches


def plain(x: Float[Tensor, "rows d_in"], settings: Settings, clock: Clock) -> Fitted:
    """What one would write in PyTorch: autograd, Adam, decoder rows renormalised after each step.

    Adam is the fused one, which is the fastest of PyTorch's three on a CPU.
    """
    torch.manual_seed(settings.seed)
    W_dec = torch.randn(settings.latents, settings.d_in)
    W_dec /= W_dec.norm(dim=1, keepdim=True)
    W_enc = settings.encoder_norm * W_dec.T.contiguous()
    sae = Fitted(W_enc, torch.zeros(settings.latents), W_dec, x.mean(0))
    for parameter in sae:
        parameter.requires_grad_()
    adam = torch.optim.Adam(sae, lr=settings.learning_rate, fused=True)
    rise, fall = settings.share(settings.warm_up), settings.share(settings.decay)
    warm = settings.share(settings.l1_warm_up)
    for step, batch in zip(range(1, settings.steps + 1), batches(x, settings), strict=False):
        f = torch.relu((batch - sae.b_dec) @ sae.W_enc + sae.b_enc)
        error = batch - f @ sae.W_dec - sae.b_dec
        penalty = (f * sae.W_dec.norm(dim=1)).sum(1).mean()
        multiple = settings.l1_start + (1 - settings.l1_start) * min(1, step / warm)
        loss = error.square().sum(1).mean() + settings.l1 * multiple * penalty
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
