"""How much of each planted direction is in a token's M, and speaks for a token to come next."""

import torch
from jaxtyping import Float
from torch import Tensor

from lm.ordinals import OrdinalTask
from lm.planted.truth import PlantedDials
from lm.planted.vocabulary import WORD_TASKS, Vocabulary

SIDE_READING = 0.3
"""How much domain and form count in the unembedding, where residue and tens count 1. `May` is of
two tasks but has one M, and must follow `Apr` as well as `April`."""
BAND = 50
"""Numbers that labels are shuffled among. Numbers that then share residue and tens stay more than
50 apart, so that the ordinal direction still tells their hundreds apart."""


def counts(
    dials: PlantedDials, everything: Vocabulary, generator: torch.Generator, shuffled: bool
) -> tuple[Float[Tensor, "vocabulary directions"], Float[Tensor, "vocabulary directions"]]:
    """In M, and in the unembedding.

    A token is unembedded with the code of the one before it, so that a carry (39 to 40) is linear
    and cyclic tasks close. The source's domain, which counts one, is the constant of what follows.

    Tens digits repeat with each hundred; there the likeness of sizes decides: of
    `-sharpness / 2 (size - size')^2` the term that candidates differ in is linear in the source's
    size. The sharpness makes a hundred weigh as much as a digit.
    """
    column = {name: i for i, name in enumerate(dials.names)}
    labels = _labels(everything.tasks, generator, shuffled)

    def digits(task: str, label: int) -> dict[str, float]:
        residue = {f"mod{dials.modulus}/{label % dials.modulus}": 1.0} if dials.modulus else {}
        return residue | ({f"tens/{label // 10 % 10}": 1.0} if _has_tens(task, label) else {})

    in_m = [[0.0] * len(column) for _ in everything.words]
    followed = [[0.0] * len(column) for _ in everything.words]

    def put(row: list[float], counted: dict[str, float]) -> None:
        for name, count in counted.items():
            row[column[name]] += count

    for name, task in everything.tasks.items():
        first, last = min(labels[name]), max(labels[name])
        before = {task.following(index): index for index in labels[name]}
        sharpness = 2 * (last / 100) ** 2 if name == "numbers" else 0.0
        # `May` has the domain of months, and is a month prefix too: any word is one of these.
        constant = ["task/numbers"] if name == "numbers" else [f"task/{w}" for w in WORD_TASKS]
        for token, place in everything.places.items():
            if place.task != name:
                continue
            form = {"form/space": float(place.form.startswith("space"))}
            if name != "numbers":
                form["form/capital"] = float(place.form.endswith("capital"))
            put(in_m[token], digits(name, labels[name][place.index]))
            put(in_m[token], {f"task/{name}": 1.0})
            put(in_m[token], {"ordinal": (place.index - first) / (last - first)})
            put(in_m[token], form)
            if (previous := before.get(place.index)) is None:
                continue
            label, size = labels[name][previous], (previous - first) / (last - first)
            signs = {part: 1 if there else -1 for part, there in form.items()}
            total = -SIDE_READING * sum(signs.values()) - sharpness * size**2 / 2
            if name != "numbers" and _has_tens(name, label):
                total -= 0.5  # or what comes after `thirteen` would come after `three` too
            put(followed[token], dict.fromkeys(constant, total))
            put(followed[token], digits(name, label))
            put(followed[token], {f"task/{name}": SIDE_READING})
            put(followed[token], {"ordinal": sharpness * size})
            put(followed[token], {part: 2 * SIDE_READING * sign for part, sign in signs.items()})
    return torch.tensor(in_m), torch.tensor(followed)


def _has_tens(task: str, label: int) -> bool:
    """Words below ten have no tens digit: March is no more 03 than it is 3 of the tens 0.

    Had they one, hardly a word would be without `tens/0`, and what the domain of numbers adds to M
    could not be told from the lack of it.
    """
    return task == "numbers" or label >= 10


def _labels(
    tasks: dict[str, OrdinalTask], generator: torch.Generator, shuffled: bool
) -> dict[str, dict[int, int]]:
    """By task and index, what residue and tens are of: the index, unless shuffled.

    Tasks of the same indices are shuffled alike: `May` is of two.
    """
    orders: dict[tuple[int, ...], dict[int, int]] = {}
    labels = {}
    for name, task in tasks.items():
        indices = tuple(dict.fromkeys(index for index, _, _ in task.spellings()))
        if indices not in orders:
            bands = torch.tensor(indices).split(BAND)
            shuffles = [band[torch.randperm(len(band), generator=generator)] for band in bands]
            order = torch.cat(shuffles).tolist() if shuffled else indices
            orders[indices] = dict(zip(indices, order, strict=True))
        labels[name] = orders[indices]
    return labels
