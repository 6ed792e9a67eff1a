"""The harvest: M(t) for every ordinal token."""

import torch

from lm.access import LanguageModel, Ln, mlp0_outputs
from lm.ordinals import OrdinalTokens
from training.activations import HOOK, Activations


def harvest(model: LanguageModel, tokens: OrdinalTokens, ln: Ln = "model") -> Activations:
    """M(t) = MLP0(ln2(W_E[t])) for each row of `tokens`.

    Args:
        ln: `none` leaves ln2 out, as one public reproduction does.
    """
    ids = torch.tensor(tokens.table["token_id"].to_numpy())
    metadata = {
        "model": model.info.name,
        "revision": model.info.revision or "",
        "hook": HOOK,
        "ln": ln,
    }
    return Activations(mlp0_outputs(model, ids, ln), tokens, metadata)
