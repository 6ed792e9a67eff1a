"""The catalog: every latent of every member, labelled, beside the vectors worth keeping."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lm.errors import OrdinalError
from lm.files import read_parquet, replacing, write_parquet, write_safetensors

TABLES = ("features", "residues", "order")


@dataclass(frozen=True)
class FeatureCatalog:
    """What was found among the latents of an ensemble."""

    features: pd.DataFrame
    """One row per latent: `member`, `index`; what `features.discovery.discover` returns: `label`
    (`mod10/3`, `ordinal/shared`, `interval/40-49`, `task/days`, `form/space`, `neither`, ...), its
    q-value, what it explains and its confirmation; `stability`, `density`; for residues `precision`
    and `recall` (over all numbers, in the worst spelling), `precision_all_tasks`,
    `cosine_class_mean`, `cosine_probe`."""
    residues: pd.DataFrame
    """One row per member, modulus and residue, for the modulus tested and its controls."""
    order: pd.DataFrame
    """One row per ordinal direction, with its held-out R2 and the permuted one's."""
    vectors: dict[str, Float[Tensor, " d_model"]] = field(default_factory=dict)
    """Named unit vectors: `mod10/0` .. and `ordinal/<task>`, `ordinal/shared`."""
    metadata: dict[str, str] = field(default_factory=dict)
    """`model`, `hook_name`, the member that the residue vectors come from, ..."""

    def save(self, folder: Path) -> None:
        """Write the tables as Parquet, and `vectors.safetensors`."""
        for name in TABLES:
            write_parquet(getattr(self, name), folder / f"{name}.parquet")
        with replacing(folder / "vectors.safetensors") as partial:
            write_safetensors(self.vectors, partial, self.metadata)

    @classmethod
    def load(cls, folder: Path) -> "FeatureCatalog":
        """Read what `save` wrote.

        Raises:
            OrdinalError: a file is missing or cannot be read.
        """
        tables = {name: read_parquet(folder / f"{name}.parquet") for name in TABLES}
        path = folder / "vectors.safetensors"
        try:
            with safe_open(path, framework="pt") as file:
                vectors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                metadata = dict(file.metadata() or {})
        except (OSError, SafetensorError) as error:
            raise OrdinalError(
                f"{path} cannot be read ({error}); run `ordinal features`."
            ) from None
        return cls(**tables, vectors=vectors, metadata=metadata)
