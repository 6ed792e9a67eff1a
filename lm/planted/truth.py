"""What is planted: the dials, the truth that comes of them, and the file that holds it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lm.errors import OrdinalError, UsageError
from lm.files import write_safetensors
from lm.planted.vocabulary import WORD_TASKS

TRUTH = "truth.safetensors"
N_HEADS = 4


@dataclass(frozen=True)
class PlantedDials:
    """How hard the features are to find. The defaults are easy.

    Raises:
        UsageError: a dial is out of its range.
    """

    d_model: int = 256
    """A multiple of four, and four times the directions (31 by default) or more: each of four heads
    must hold a coordinate for every direction."""
    numbers: int = 199
    """Last number; the first is 0."""
    modulus: int | None = 10
    """Of the planted residues; None plants none."""
    overlap: float = 0.0
    """Mean absolute cosine between the planted directions, token forms left out. 0: orthonormal.
    Above what random directions have in as many dimensions as there are directions (0.14 for 29),
    they share fewer dimensions than they are: superposition."""
    noise: float = 0.005
    """Share of M's variance over the tokens that is each token's own, alike in all directions."""

    def __post_init__(self) -> None:
        n = len(self.names)
        if self.d_model % N_HEADS or self.d_model < N_HEADS * n:
            raise UsageError(
                f"`d_model` is {self.d_model}; {n} directions take a multiple of {N_HEADS} "
                f"from {N_HEADS * n} on."
            )
        if self.numbers < 1 or (self.modulus is not None and self.modulus < 2):
            raise UsageError("`numbers` begins at 1, `modulus` at 2 (None for no residues).")
        if not (0 <= self.overlap < 1 and 0 <= self.noise < 1):
            raise UsageError("`overlap` and `noise` are shares, from 0 to below 1.")

    @property
    def names(self) -> list[str]:
        """Of the planted directions, token forms last."""
        modulus = self.modulus or 0
        return [
            *(f"mod{modulus}/{r}" for r in range(modulus)),
            *(f"tens/{digit}" for digit in range(10)),
            "ordinal",
            *(f"task/{task}" for task in ("numbers", *WORD_TASKS)),
            *FORMS,
        ]


FORMS = ("form/space", "form/capital")
REFERENCE = PlantedDials(d_model=128, numbers=299, overlap=0.1, noise=0.1)
"""Hard, and still recoverable: where methods are compared."""


@dataclass(frozen=True)
class PlantedTruth:
    """What was planted."""

    directions: dict[str, Float[Tensor, " d_model"]]
    """Unit directions in M: `mod10/3`, `tens/4`, `ordinal`, `task/days`, `form/space`."""
    residue_scale: float
    """The length of a residue in M, and of every other direction where it counts one."""
    overlap: float
    """Mean absolute cosine between the directions, forms left out, as it came out."""
    rank: int
    """Dimensions that the directions span, forms left out."""
    noise: float
    """Share of M's variance that is item noise, as it came out."""
    dials: PlantedDials
    seed: int
    shuffled: bool
    """Whether residues and tens are of indices relabelled at random."""
    layer: int
    """The successor head's, 0-based, as `head`."""
    head: int

    def family(self, prefix: str) -> dict[str, Float[Tensor, " d_model"]]:
        """The directions whose names begin so, by the rest of the name."""
        return {
            name.removeprefix(prefix): direction
            for name, direction in self.directions.items()
            if name.startswith(prefix)
        }

    @property
    def residues(self) -> Float[Tensor, "modulus d_model"]:
        """Row r is in M(t) where the index is r modulo the dial (or the shuffled label is)."""
        return _rows(self.family(f"mod{self.dials.modulus}/"), self.dials.d_model)

    @property
    def tens(self) -> Float[Tensor, "10 d_model"]:
        """Row q is in M(t) where the tens digit is q."""
        return _rows(self.family("tens/"), self.dials.d_model)

    @property
    def tasks(self) -> dict[str, Float[Tensor, " d_model"]]:
        """By task, the direction of its domain."""
        return self.family("task/")

    @property
    def ordinal(self) -> Float[Tensor, " d_model"]:
        """In M(t) in proportion to the index within its task, from 0 to 1."""
        return self.directions["ordinal"]

    def save(self, folder: Path) -> None:
        """Write `truth.safetensors`: one tensor a direction, all else in the header's metadata."""
        about = asdict(self)
        del about["directions"]
        metadata = {name: json.dumps(value) for name, value in about.items()}
        write_safetensors(self.directions, folder / TRUTH, metadata)


def load_truth(folder: str | Path) -> PlantedTruth:
    """Read what `plant` wrote beside a checkpoint.

    Raises:
        OrdinalError: there is no such file in the folder, or it is damaged.
    """
    path = Path(folder, TRUTH)
    try:
        with safe_open(path, "pt") as file:
            about = {name: json.loads(value) for name, value in file.metadata().items()}
            dials = PlantedDials(**about.pop("dials"))
            directions = {name: file.get_tensor(name) for name in dials.names}
            return PlantedTruth(directions=directions, dials=dials, **about)
    except (OSError, SafetensorError, TypeError, ValueError, KeyError) as error:
        raise OrdinalError(
            f"{path} holds no planted truth ({error}). `plant(FOLDER)` writes one."
        ) from None


def _rows(family: dict[str, Tensor], d_model: int) -> Float[Tensor, "rows d_model"]:
    return torch.stack(list(family.values())) if family else torch.empty(0, d_model)
