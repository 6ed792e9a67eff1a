"""The first step: every head scored as a successor head."""

from typing import TYPE_CHECKING

import pandas as pd

from lm.files import replacing
from ordinal.run_folder import Run

if TYPE_CHECKING:
    from eval.heads.successor import HeadChoice
    from lm.access import LanguageModel, Ln
    from lm.ordinals import OrdinalTokens


def heads(run: Run) -> pd.DataFrame:
    """Score every head of the model and choose its successor head (section 2)."""
    from eval.heads.successor import scored_tokens
    from lm.open import open_model

    config = run.config
    model = open_model(config.model)
    tokens = run_tokens(run, model)
    scored = scored_tokens(tokens, config.tokens.scored_numbers)
    table, choice, baselines = _scan(model, scored, config.ln, config.seed)
    run.forget_after("heads")
    with replacing(run.folder / "tokens") as partial:
        tokens.save(partial)
    run.write_table("baselines", baselines)
    run.write_table("heads", table)
    run.write_json("head.json", choice._asdict())
    return table


def scan(
    name: str, numbers: tuple[int, int] = (1, 200), ln: "Ln" = "model"
) -> tuple[pd.DataFrame, "HeadChoice"]:
    """Score every head of a model that needs no run folder."""
    from lm.open import open_model
    from lm.ordinals import load_tasks, ordinal_tokens

    model = open_model(name)
    return _scan(model, ordinal_tokens(model.tokenizer, load_tasks(numbers=numbers)), ln, 0)[:2]


def _scan(
    model: "LanguageModel", tokens: "OrdinalTokens", ln: "Ln", seed: int
) -> tuple[pd.DataFrame, "HeadChoice", pd.DataFrame]:
    from eval.heads.successor import baseline_table, head_table
    from training.harvest import harvest

    m = harvest(model, tokens, ln).x
    table, choice = head_table(model, tokens, m, seed=seed)
    return table, choice, baseline_table(model, tokens, m, seed=seed)


def run_tokens(run: Run, model: "LanguageModel") -> "OrdinalTokens":
    from lm.ordinals import load_tasks, ordinal_tokens

    config = run.config.tokens
    return ordinal_tokens(
        model.tokenizer, load_tasks(config.tasks_file, config.numbers), seed=run.config.seed
    )
