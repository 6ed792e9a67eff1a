"""SAEs of the same inputs that differ in their seed and in the fold that they hold out."""

from dataclasses import dataclass
from pathlib import Path

from lm.errors import OrdinalError
from lm.files import replacing
from sae.autoencoder import SAE
from sae.saelens import read_saelens, write_saelens

FOLDER = "saes"


@dataclass(frozen=True)
class SAEEnsemble:
    """The members, in order, with what tells them apart."""

    members: list[SAE]
    seeds: list[int | None]
    """None for an SAE that was fitted elsewhere."""
    held_out_folds: list[int]
    """By member, the fold of `OrdinalTokens` that it never saw."""
    model_name: str
    hook_name: str
    pretrained: str | None = None
    """Where the SAE comes from, if it was fitted elsewhere: it may then have seen every fold."""

    def __len__(self) -> int:
        return len(self.members)

    def save(self, folder: str | Path) -> None:
        """Write `folder/saes/000`, `001`, ...: SAELens folders, in place of those there."""
        with replacing(Path(folder, FOLDER)) as partial:
            partial.mkdir()
            for i, (sae, seed, fold) in enumerate(
                zip(self.members, self.seeds, self.held_out_folds, strict=True)
            ):
                metadata = {
                    "model_name": self.model_name,
                    "hook_name": self.hook_name,
                    "seed": seed,
                    "held_out_fold": fold,
                }
                if self.pretrained is not None:
                    metadata |= {"pretrained": self.pretrained}
                write_saelens(sae, partial / f"{i:03d}", metadata)

    @classmethod
    def load(cls, folder: str | Path) -> "SAEEnsemble":
        """Read what `save` wrote.

        Raises:
            OrdinalError: there are no members, or one is damaged or is of another ensemble.
        """
        paths = sorted(path for path in Path(folder, FOLDER).glob("*") if path.is_dir())
        if not paths:
            raise OrdinalError(
                f"{Path(folder, FOLDER)} holds no SAEs. `ordinal train` writes them there."
            )
        read = [read_saelens(path) for path in paths]
        first, about = read[0]
        for path, (sae, metadata) in zip(paths, read, strict=True):
            for key in ("model_name", "hook_name", "seed", "held_out_fold"):
                if key not in metadata:
                    raise OrdinalError(f"{path}: its metadata has no `{key}`.")
            same = all(metadata[key] == about[key] for key in ("model_name", "hook_name"))
            if not same or sae.d_in != first.d_in:
                raise OrdinalError(
                    f"{path} was fitted to other activations than {paths[0]}: "
                    f"{metadata['model_name']} {metadata['hook_name']}, {sae.d_in} dimensions."
                )
        return cls(
            members=[sae for sae, _ in read],
            seeds=[metadata["seed"] for _, metadata in read],
            held_out_folds=[metadata["held_out_fold"] for _, metadata in read],
            model_name=about["model_name"],
            hook_name=about["hook_name"],
            pretrained=about.get("pretrained"),
        )
