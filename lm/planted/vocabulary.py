"""The planted model's tokens: one for each number or word, with or without its leading space."""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from lm.ordinals import OrdinalTask, OrdinalTokens, load_tasks, ordinal_tokens

END, UNKNOWN = "<|endoftext|>", "<unk>"
WORD_TASKS = tuple(
    name for name, task in load_tasks().items() if task.elements and not task.held_out
)
_SPLIT = r" ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]|\s"


class Place(NamedTuple):
    """Where a token stands."""

    task: str
    index: int
    form: str


class Vocabulary(NamedTuple):
    """Token ids are positions in `words`."""

    words: list[str]
    places: dict[int, Place]
    """By token id. `May` is a month and a month prefix: it has the first of them."""
    tasks: dict[str, OrdinalTask]
    tokenizer: Tokenizer
    tokens: OrdinalTokens

    def save(self, folder: Path, n_ctx: int) -> None:
        """Write the tokenizer's files of a checkpoint."""
        self.tokenizer.save(str(folder / "tokenizer.json"))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": n_ctx}
        settings |= {"bos_token": END, "eos_token": END, "pad_token": END, "unk_token": UNKNOWN}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))


@cache
def vocabulary(numbers: int) -> Vocabulary:
    """All numbers from 0 to the last, and the words of every task that is not held out."""
    everything = load_tasks(numbers=(0, numbers))
    tasks = {name: everything[name] for name in ("numbers", *WORD_TASKS)}
    places: dict[str, Place] = {}
    for name, task in tasks.items():
        for index, form, text in task.spellings():
            places.setdefault(text, Place(name, index, form))
    words = [END, UNKNOWN, *places]
    tokenizer = _tokenizer(words)
    by_id = {words.index(text): place for text, place in places.items()}
    return Vocabulary(words, by_id, tasks, tokenizer, ordinal_tokens(tokenizer, tasks))


def _tokenizer(words: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=UNKNOWN)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([END, UNKNOWN])
    return tokenizer
