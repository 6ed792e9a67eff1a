"""The small interface to a language model's weights that everything else is written against."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor

from lm.errors import OrdinalError

Ln = Literal["model", "none"]
"""Whether M(t) applies the LayerNorm before MLP0 (`model`) or leaves it out (`none`)."""


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model before its weights are read."""

    name: str
    family: str
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_model: int
    d_head: int
    d_vocab: int
    n_ctx: int
    norm: Literal["layer", "rms"]
    revision: str | None = None
    """The commit of a hub model, or the SHA-256 of a folder's config and weight files' headers."""

    def check_head(self, layer: int, head: int) -> None:
        """Refuse a head that the model does not have.

        Raises:
            OrdinalError: names the heads that there are.
        """
        if not (0 <= layer < self.n_layers and 0 <= head < self.n_heads):
            raise OrdinalError(
                f"{self.name} has no head L{layer}H{head}: its layers are 0 to "
                f"{self.n_layers - 1}, with heads 0 to {self.n_heads - 1} in each. "
                f"`ordinal heads {self.name}` lists them."
            )

    def check_tokens(self, token_ids: Int[Tensor, " tokens"]) -> None:
        """Refuse tokens that the model has no embedding for.

        Raises:
            OrdinalError: the tokenizer is another model's.
        """
        if len(token_ids) and not 0 <= int(token_ids.min()) <= int(token_ids.max()) < self.d_vocab:
            raise OrdinalError(
                f"{self.name} embeds {self.d_vocab:,} tokens, and was asked for token "
                f"{int(token_ids.max()):,}. Its tokenizer.json belongs to another model: "
                "put the right one there."
            )


class AttentionWeights(NamedTuple):
    """One layer's attention, as much of it as the OV circuit needs, in float32."""

    gain: Float[Tensor, " d_model"]
    """Of the norm that the attention reads through (`ln1`)."""
    W_V: Float[Tensor, "n_kv_heads d_model d_head"]
    W_O: Float[Tensor, "n_heads d_head d_model"]


class LanguageModel(Protocol):
    """A language model under study. Everything it returns is float32 on the CPU."""

    info: ModelInfo
    tokenizer: Tokenizer

    def embed(self, token_ids: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens d_model"]:
        """Rows of the token embedding W_E, without position."""
        ...

    def mlp0(
        self, x: Float[Tensor, "tokens d_model"], ln: Ln = "model"
    ) -> Float[Tensor, "tokens d_model"]:
        """`MLP0(ln2(x))`, with the MLP's and ln2's biases."""
        ...

    def mlp0_neurons(self) -> Float[Tensor, "neurons d_model"] | None:
        """What each neuron of MLP0 writes: the rows of W_out. None where they cannot be told."""
        ...

    def attention(self, layer: int) -> AttentionWeights:
        """The OV weights of one layer, read when asked for."""
        ...

    def final_gain(self) -> Float[Tensor, " d_model"]:
        """The gain of the last norm, before the unembedding."""
        ...

    def unembed(self, token_ids: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens d_model"]:
        """Columns of W_U, as rows."""
        ...


def mlp0_outputs(
    model: LanguageModel, token_ids: Int[Tensor, " tokens"], ln: Ln = "model"
) -> Float[Tensor, "tokens d_model"]:
    """M(t) = MLP0(ln2(W_E[t])): what the paper's SAEs are fitted on (section 3)."""
    return model.mlp0(model.embed(token_ids), ln)
