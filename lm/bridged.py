"""The bridged route: the whole model in a TransformerBridge, which can also run prompts."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from einops import einsum
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor

from lm.access import AttentionWeights, Ln, ModelInfo
from lm.checkpoint import Checkpoint
from lm.errors import OrdinalError

_FAR = 1e3
"""How far out a norm is probed, so that its epsilon vanishes beside the variance."""
_TOLERANCE = 1e-3
"""Relative, for what must agree up to float32's rounding."""


class BridgedModel:
    """A `LanguageModel` whose `bridge` (a `TransformerBridge`) stays in memory, in float32."""

    def __init__(self, checkpoint: Checkpoint, name: str, revision: str | None = None) -> None:
        """Load the model.

        Raises:
            OrdinalError: TransformerLens cannot load the model, or its layers are not built as
                norm, attention, norm, MLP.
        """
        self.tokenizer: Tokenizer = checkpoint.tokenizer
        family = checkpoint.config.get("model_type")
        self.bridge: Any = _boot(str(checkpoint.folder), family)
        cfg, block = self.bridge.cfg, self.bridge.blocks[0]
        self.info = ModelInfo(
            name=name,
            family=str(family),
            n_layers=cfg.n_layers,
            n_heads=cfg.n_heads,
            n_kv_heads=getattr(cfg, "n_key_value_heads", None) or cfg.n_heads,
            d_model=cfg.d_model,
            d_head=cfg.d_head,
            d_vocab=cfg.d_vocab,
            n_ctx=cfg.n_ctx,
            norm="rms" if cfg.normalization_type.startswith("RMS") else "layer",
            revision=revision or checkpoint.revision,
        )
        # Families with one norm for attention and MLP together (GPT-J, Falcon) have no ln2.
        self._ln2 = self._part(block, "ln2", "ln1")
        self._mlp = self._part(block, "mlp")
        self._check_layers()

    @torch.no_grad()
    def embed(self, token_ids: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens d_model"]:
        """Rows of the token embedding W_E, without position."""
        self.info.check_tokens(token_ids)
        return _finite(self.bridge.W_E[token_ids].float(), "the embedding")

    @torch.no_grad()
    def unembed(self, token_ids: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens d_model"]:
        """Columns of W_U, as rows."""
        self.info.check_tokens(token_ids)
        return _finite(self.bridge.W_U[:, token_ids].T.float().contiguous(), "the unembedding")

    @torch.no_grad()
    def final_gain(self) -> Float[Tensor, " d_model"]:
        """The gain of the last norm, before the unembedding."""
        return self._gain(self.bridge.ln_final)

    @torch.no_grad()
    def mlp0(
        self, x: Float[Tensor, "tokens d_model"], ln: Ln = "model"
    ) -> Float[Tensor, "tokens d_model"]:
        """`MLP0(ln2(x))`, by calling the model's own modules."""
        batch = x[:, None]
        out = self._mlp(self._ln2(batch) if ln == "model" else batch)
        return _finite(out[:, 0], "MLP0's output")

    @torch.no_grad()
    def mlp0_neurons(self) -> Float[Tensor, "neurons d_model"] | None:
        """What each neuron of MLP0 writes: the rows of W_out. None for an MLP built of experts."""
        weight = getattr(self._mlp, "W_out", None)
        if not isinstance(weight, Tensor) or weight.shape[1:] != (self.info.d_model,):
            return None
        return _finite(weight.float(), "MLP0's output matrix")

    @torch.no_grad()
    def attention(self, layer: int) -> AttentionWeights:
        """The OV weights of one layer."""
        block, info = self.bridge.blocks[layer], self.info
        value, output = block.attn.W_V.float(), block.attn.W_O.float()
        expected = (
            (info.n_kv_heads, info.d_model, info.d_head),
            (info.n_heads, info.d_head, info.d_model),
        )
        if (tuple(value.shape), tuple(output.shape)) != expected:
            raise self._refused(
                f"layer {layer} has W_V {list(value.shape)} and W_O {list(output.shape)}, "
                f"where {expected} was expected"
            )
        where = f"layer {layer}"
        return AttentionWeights(
            self._gain(block.ln1), _finite(value, where), _finite(output, where)
        )

    @torch.no_grad()
    def _check_layers(self) -> None:
        """Refuse a model that does not compute what `lm/circuit.py` says.

        On prompts of one token attention is 1, so between two prompts (biases drop out) the
        attention output must differ by exactly what the heads' W_V and W_O make of ln1.
        """
        rep = self.info.n_heads // self.info.n_kv_heads
        _, cache = self.bridge.run_with_cache(torch.tensor([[0], [1]]))
        for layer in (0, self.info.n_layers - 1):
            block, names = self.bridge.blocks[layer], [f"blocks.{layer}.hook_resid_pre"]
            self._part(block, "attn")
            ln1 = self._part(block, "ln1")
            names.append(f"blocks.{layer}.hook_attn_out")
            if not all(name in cache for name in names):
                raise self._refused(f"there is no {' or '.join(names)}")
            normed, out = ln1(cache[names[0]]), cache[names[1]]
            weights = self.attention(layer)
            read = einsum(normed[1, 0] - normed[0, 0], weights.W_V, "d, kv d h -> kv h")
            ours = einsum(read.repeat_interleave(rep, 0), weights.W_O, "n h, n h d -> d")
            theirs = out[1, 0] - out[0, 0]
            if (ours - theirs).abs().max() > _TOLERANCE * theirs.abs().max():
                raise self._refused(f"the attention of layer {layer} is not ln1, W_V and W_O alone")
        try:
            self.mlp0(self.embed(torch.tensor([0])))
        except (RuntimeError, TypeError) as error:
            raise self._refused(f"MLP0 cannot be called by itself ({error})") from None

    def _part(self, block: Any, *names: str) -> Any:
        """The first of a layer's parts that exists."""
        for name in names:
            if name in block._modules:
                return block._modules[name]
        raise self._refused(f"a layer has {', '.join(block._modules)}, but no {names[0]}")

    def _refused(self, why: str) -> OrdinalError:
        return OrdinalError(
            f"{self.info.name} (family {self.info.family!r}) has no OV circuits as defined here "
            f"(norm, attention, norm, MLP): in TransformerLens, {why}."
        )

    def _gain(self, norm: Any) -> Float[Tensor, " d_model"]:
        """A norm's gain, measured by calling it, so that Gemma's 1 + w needs no case of its own.

        The probe has mean 0 and variance 1 before it is scaled; the odd part of the norm's answer
        to it is the gain, and the even part the bias.
        """
        signs = torch.ones(self.info.d_model)
        signs[1::2] = -1
        probe = (_FAR * signs)[None, None]
        return _finite((norm(probe) - norm(-probe))[0, 0] / 2 * signs, "the gain of a norm")


def _boot(folder: str, family: object) -> Any:
    with _quiet():
        from transformer_lens.model_bridge import TransformerBridge

        try:
            bridge = TransformerBridge.boot_transformers(folder, device="cpu", dtype=torch.float32)
        except Exception as error:  # whatever transformers or the bridge stumbled over
            raise OrdinalError(
                f"{folder} (family {family!r}) could not be opened by TransformerLens: {error}"
            ) from error
    return bridge.eval().requires_grad_(False)


def _finite(tensor: Tensor, what: str) -> Tensor:
    if not torch.isfinite(tensor.sum()):
        raise OrdinalError(
            f"The weights hold NaN or infinity in {what}. Download or save the checkpoint again."
        )
    return tensor


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, no advice: what goes wrong is raised."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
