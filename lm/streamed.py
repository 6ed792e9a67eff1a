"""The streamed route: a model's weights straight from its safetensors, as few as are needed.

What differs between families is described in `lm/families.py`; the mathematics is written once.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor

from lm.access import AttentionWeights, Ln, ModelInfo
from lm.checkpoint import READABLE, Checkpoint
from lm.errors import OrdinalError
from lm.families import Config


class StreamedModel:
    """A `LanguageModel` of a family in `FAMILIES`, which holds no weights between calls."""

    def __init__(self, checkpoint: Checkpoint, name: str, revision: str | None = None) -> None:
        """Check the config and the tensors' shapes; no weight is read yet.

        Raises:
            OrdinalError: the family or a setting is not supported, or a tensor is missing.
        """
        self._files = checkpoint
        config = Config(checkpoint)
        self._family = config.family
        self._eps = config.number("eps")
        self._activation = config.activation()
        n_heads, d_model = config.integer("n_heads"), config.integer("d_model")
        self.info = ModelInfo(
            name=name,
            family=checkpoint.config["model_type"],
            n_layers=config.integer("n_layers"),
            n_heads=n_heads,
            n_kv_heads=config.integer("n_kv_heads", n_heads),
            d_model=d_model,
            d_head=config.integer("d_head", d_model // n_heads),
            d_vocab=config.integer("d_vocab"),
            n_ctx=config.integer("n_ctx"),
            norm=self._family.norm,
            revision=revision or checkpoint.revision,
        )
        bare = self._family.embed in checkpoint.tensors
        self._prefix = "" if bare else self._family.prefix
        self._embed = self._prefix + self._family.embed
        self._unembed = self._embed if config["tied"] else self._family.unembed
        self._check_tensors()
        self.tokenizer: Tokenizer = checkpoint.tokenizer

    def embed(self, token_ids: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens d_model"]:
        """Rows of the token embedding W_E, without position."""
        self.info.check_tokens(token_ids)
        return self._files.read(self._embed, rows=token_ids.tolist())

    def unembed(self, token_ids: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens d_model"]:
        """Columns of W_U, as rows."""
        self.info.check_tokens(token_ids)
        return self._files.read(self._unembed, rows=token_ids.tolist())

    def final_gain(self) -> Float[Tensor, " d_model"]:
        """The gain of the last norm, before the unembedding."""
        return self._files.read(f"{self._prefix}{self._family.final_norm}.weight")

    def mlp0(
        self, x: Float[Tensor, "tokens d_model"], ln: Ln = "model"
    ) -> Float[Tensor, "tokens d_model"]:
        """`MLP0(ln2(x))`, one matrix in memory at a time."""
        family, layer = self._family, self._layer(0)
        if ln == "model":
            x = self._normalised(x, layer + family.ln2)
        if family.mlp_gate is None:
            hidden = self._activation(self._linear(x, layer + family.mlp_in))
        else:
            hidden = self._activation(self._linear(x, layer + family.mlp_gate))
            hidden *= self._linear(x, layer + family.mlp_in)
        return self._linear(hidden, layer + family.mlp_out)

    def mlp0_neurons(self) -> Float[Tensor, "neurons d_model"]:
        """What each neuron of MLP0 writes: the rows of W_out."""
        weight = self._files.read(f"{self._layer(0)}{self._family.mlp_out}.weight")
        return weight.T.contiguous() if self._family.transposed else weight

    def attention(self, layer: int) -> AttentionWeights:
        """The OV weights of one layer, read when asked for."""
        name, info = self._layer(layer), self.info
        output = self._files.read(name + self._family.output)
        if self._family.transposed:
            output = output.T
        return AttentionWeights(
            self._files.read(f"{name}{self._family.ln1}.weight"),
            self._value(name + self._family.value),
            output.reshape(info.n_heads, info.d_head, info.d_model),
        )

    def _value(self, name: str) -> Float[Tensor, "n_kv_heads d_model d_head"]:
        info = self.info
        if self._family.value_layout == "last columns":
            value = self._files.read(name, columns=slice(2 * info.d_model, None))
            return value.view(info.d_model, info.n_heads, info.d_head).transpose(0, 1)
        rows = None
        if self._family.value_layout == "interleaved rows":
            fused = torch.arange(3 * info.n_heads * info.d_head)
            rows = fused.view(info.n_heads, 3, info.d_head)[:, 2].flatten().tolist()
        value = self._files.read(name, rows=rows)
        return value.view(info.n_kv_heads, info.d_head, info.d_model).mT

    def _layer(self, layer: int) -> str:
        return self._prefix + self._family.layer.format(layer)

    def _normalised(self, x: Tensor, name: str) -> Tensor:
        gain = self._files.read(f"{name}.weight")
        if self._family.norm == "rms":
            return F.rms_norm(x, gain.shape, gain, self._eps)
        return F.layer_norm(x, gain.shape, gain, self._files.read(f"{name}.bias"), self._eps)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        weight = self._files.read(f"{name}.weight")
        y = x @ (weight.T if self._family.transposed else weight)
        bias = f"{name}.bias"
        return y + self._files.read(bias) if bias in self._files.tensors else y

    def _check_tensors(self) -> None:
        """Say at once what a scan would stumble over after minutes."""
        for name, shape in self._expected():
            entry = self._files.tensors.get(name)
            if entry is None:
                raise OrdinalError(
                    f"{self._files.folder} has no tensor {name}, which its config "
                    f"({self.info.family}, {self.info.n_layers} layers) asks for."
                )
            if entry.dtype not in READABLE:
                raise OrdinalError(
                    f"{self._files.folder}: {name} is stored as {entry.dtype}; expected "
                    f"{', '.join(READABLE)}. Quantised weights are not read: use the original ones."
                )
            fits = len(entry.shape) == len(shape) and all(
                wanted in (None, size) for wanted, size in zip(shape, entry.shape, strict=True)
            )
            if not fits:
                raise OrdinalError(
                    f"{self._files.folder}: {name} has shape {list(entry.shape)}, which does not "
                    f"fit its config (expected {[size or 'any' for size in shape]})."
                )

    def _expected(self) -> Iterator[tuple[str, tuple[int | None, ...]]]:
        """Every tensor that is read, with its shape."""
        family, info = self._family, self.info
        d, all_heads = info.d_model, info.n_heads * info.d_head

        def matrix(n_in: int | None, n_out: int | None) -> tuple[int | None, ...]:
            return (n_out, n_in) if family.transposed else (n_in, n_out)

        value_width = info.n_kv_heads * info.d_head
        if family.value_layout != "alone":
            value_width *= 3
        yield self._embed, (info.d_vocab, d)
        yield self._unembed, (info.d_vocab, d)
        yield f"{self._prefix}{family.final_norm}.weight", (d,)
        for layer in range(info.n_layers):
            name = self._layer(layer)
            yield f"{name}{family.ln1}.weight", (d,)
            yield name + family.value, matrix(d, value_width)
            yield name + family.output, matrix(all_heads, d)
        name = self._layer(0)
        yield f"{name}{family.ln2}.weight", (d,)
        if family.norm == "layer":
            yield f"{name}{family.ln2}.bias", (d,)
        yield f"{name}{family.mlp_in}.weight", matrix(d, None)
        if family.mlp_gate is not None:
            yield f"{name}{family.mlp_gate}.weight", matrix(d, None)
        yield f"{name}{family.mlp_out}.weight", matrix(None, d)
