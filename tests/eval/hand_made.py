"""A language model of one-hot vectors, whose heads each move one token to another."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor

from lm.access import AttentionWeights, Ln, ModelInfo


class HandMadeModel:
    """One layer; W_E, W_U and every W_V are the identity, and M(t) is W_E[t]."""

    def __init__(self, tokenizer: Tokenizer, moves: Sequence[Mapping[int, int]]) -> None:
        """One head for each mapping of token ids in `moves`."""
        n = tokenizer.get_vocab_size()
        self.tokenizer = tokenizer
        self.info = ModelInfo("hand-made", "none", 1, len(moves), len(moves), n, n, n, 8, "rms")
        self._moves = torch.zeros(len(moves), n, n)
        for head, move in enumerate(moves):
            self._moves[head, list(move), list(move.values())] = 1

    def embed(self, token_ids: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens d_model"]:
        return torch.eye(self.info.d_model)[token_ids]

    def mlp0(
        self, x: Float[Tensor, "tokens d_model"], ln: Ln = "model"
    ) -> Float[Tensor, "tokens d_model"]:
        return x

    def mlp0_neurons(self) -> None:
        return None

    def attention(self, layer: int) -> AttentionWeights:
        n, heads = self.info.d_model, self.info.n_heads
        return AttentionWeights(torch.ones(n), torch.eye(n).expand(heads, n, n), self._moves)

    def final_gain(self) -> Float[Tensor, " d_model"]:
        return torch.ones(self.info.d_model)

    def unembed(self, token_ids: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens d_model"]:
        return torch.eye(self.info.d_model)[token_ids]
