"""The catalog: every latent of every member, labelled, beside the vectors worth keeping."""

import json
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import pandas as pd
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from features.cards.card import FeatureCard
from features.cards.evidence import (
    direction_figures,
    held_out_figures,
    latent_figures,
    residue_figures,
)
from features.cards.meaning import meaning, residue_of
from features.cards.shown import Block, short
from features.discovery import LEVEL, NEITHER
from lm.errors import OrdinalError
from lm.files import read_parquet, replacing, write_parquet, write_safetensors

TABLES = {"features": "features", "residue_table": "residues", "order": "order"}
"""The file of each table."""


class UnknownLabel(OrdinalError, KeyError):
    """A label that the catalog does not have."""

    __str__ = Exception.__str__  # a KeyError's own puts the message in quotes


@dataclass(frozen=True)
class FeatureCatalog:
    """What was found among the latents of an ensemble.

    Example:
        >>> catalog = ordinal.load_run("runs/counting").catalog
        >>> catalog["mod10/3"]  # what a label says, its vector, its evidence
        >>> catalog.residues(10)  # the latents of each last digit
        >>> catalog.query("stability > .9 and modulus == 10")
    """

    features: pd.DataFrame
    """One row per latent: `member`, `index`; what `features.discovery.discover` returns: `label`
    (`mod10/3`, `ordinal/shared`, `interval/40-49`, `task/days`, `form/space`, `neither`, ...), its
    q-value, what it explains and its confirmation; `stability`, `density`; for residues `precision`
    and `recall` (over all numbers, in the worst spelling), `precision_all_tasks`,
    `cosine_class_mean`, `cosine_probe`."""
    residue_table: pd.DataFrame
    """One row per member, modulus and residue, for the modulus tested and its controls."""
    order: pd.DataFrame
    """One row per ordinal direction, with its held-out R2 and the permuted one's."""
    vectors: dict[str, Float[Tensor, " d_model"]] = field(default_factory=dict)
    """Named unit vectors: `mod10/0` .. and `ordinal/<task>`, `ordinal/shared`."""
    metadata: dict[str, str] = field(default_factory=dict)
    """`model`, `hook_name`, the member that the residue vectors come from, ..."""

    @property
    def labels(self) -> pd.DataFrame:
        """The labels that latents bear: `label`, `kind`, its `latents` and `members`.

        A `kind` is a family of hypotheses (`residue`, `digit`, `order`, `task`, `form`), or
        `neither`, which comes last.
        """
        labelled = self.features["label"] != NEITHER
        kinds = self.features["family"].where(labelled, NEITHER)
        found = self.features.assign(kind=kinds).groupby(["kind", "label"], as_index=False)
        counts = found.agg(latents=("member", "size"), members=("member", "nunique"))
        return counts.sort_values(
            ["kind", "label"],
            key=lambda names: names.map(lambda name: (name == NEITHER, _natural(str(name)))),
            ignore_index=True,
        )[["label", "kind", "latents", "members"]]

    def residues(self, modulus: int = 10) -> pd.DataFrame:
        """The latents labelled as a residue of this modulus, by residue and member.

        Returns:
            Rows of `features`; none where no latent has such a label.
        """
        mine = self.features[self.features["label"].str.startswith(f"mod{modulus}/")]
        return mine.sort_values(["residue", "member", "index"], ignore_index=True)

    def ordinal(self) -> pd.DataFrame:
        """The latents with a label of order: `ordinal/`, `magnitude/`, `interval/`, `hundreds/`.

        Returns:
            Rows of `features`, by label and member; none where no latent has such a label.
        """
        labelled = self.features["label"] != NEITHER
        mine = self.features[labelled & (self.features["family"] == "order")]
        return mine.sort_values(
            ["label", "member", "index"],
            key=lambda column: column.map(_natural) if column.name == "label" else column,
            ignore_index=True,
        )

    def query(self, expression: str) -> pd.DataFrame:
        """The rows of `features` that an expression holds for, as `DataFrame.query` reads it.

        Args:
            expression: such as `"stability > .9 and modulus == 10"`; `@name` is a variable of the
                caller's.

        Raises:
            OrdinalError: it is no expression over the columns.
        """
        try:
            return self.features.query(expression, level=1)
        except (NameError, SyntaxError, TypeError, ValueError) as error:
            raise OrdinalError(
                f"query({expression!r}): {error}. The columns: {', '.join(self.features.columns)}."
            ) from None

    def __contains__(self, label: object) -> bool:
        return label in self.vectors or bool((self.features["label"] == label).any())

    def __getitem__(self, label: str) -> FeatureCard:
        """The card of a label, which some latent bears or which a vector is kept for.

        Raises:
            UnknownLabel: neither is the case. It is an OrdinalError and a KeyError.
        """
        if label not in self:
            known = [*self.labels["label"], *(set(self.vectors) - set(self.labels["label"]))]
            close = get_close_matches(str(label), known, 3, cutoff=0.3) or known[:3]
            raise UnknownLabel(
                f"No latent has the label {label!r}. Close to it: {', '.join(close)}. "
                "`catalog.labels` lists all."
            )
        latents = self.features[self.features["label"] == label].reset_index(drop=True)
        residue = residue_of(label)
        tested = [] if self.residue_table.empty else self.residue_table["modulus"].unique()
        controls = [int(m) for m in tested if str(m) != self.metadata.get("modulus")]
        if residue is None or residue[0] in controls:
            controls = []
        d_model = len(next(iter(self.vectors.values()), ()))
        figures = latent_figures(label, self.features, controls, d_model)
        if residue and residue[0] in tested:
            figures += held_out_figures(*residue, self.residue_table)
        elif residue:
            figures += residue_figures(*residue, self.features)
        figures += direction_figures(self.order[self.order["name"] == label])
        signs = latents["sign"].unique()
        return FeatureCard(
            label,
            meaning(label, int(signs[0]) if len(signs) == 1 else 0),
            self.vectors.get(label),
            self._source(label, latents),
            latents,
            pd.DataFrame(figures).set_index("figure"),
            latents["member"].nunique(),
            self.features["member"].nunique(),
        )

    def _source(self, label: str, latents: pd.DataFrame) -> str:
        """Where a label's vector comes from; where to get one, if the catalog has none."""
        residue = residue_of(label)
        if label in self.vectors and residue:
            member, latents = self.metadata["member"], json.loads(self.metadata["latents"])
            return f"W_dec[{latents[residue[1]]}] of member {member}, best by F1 on fitted numbers"
        if label in self.vectors:
            return "the covariance of M(t) with the index; no latent's"
        if label == NEITHER:
            return "none; these latents have nothing in common"
        best = latents.sort_values("r2").iloc[-1]
        return (
            "none is kept; the latent that fits best has "
            f"run.ensemble.members[{best['member']}].W_dec[{best['index']}]"
        )

    def _ipython_key_completions_(self) -> list[str]:
        return list(dict.fromkeys([*self.labels["label"], *self.vectors]))

    def __repr__(self) -> str:
        return self._block().text()

    def _repr_html_(self) -> str:
        return self._block().html()

    def _block(self) -> Block:
        labels, table = self.labels, self.features
        rows = [["kind", "latents", "members", "labels"]]
        labelled = int((table["label"] != NEITHER).sum())
        for kind, part in labels.groupby("kind", sort=False):
            members = table.loc[table["label"].isin(part["label"]), "member"].nunique()
            names = part["label"].str.split("/").str[0]
            by_name = part.groupby(names, sort=False)["latents"].sum().items()
            listed = "" if kind == NEITHER else ", ".join(f"{name} {n}" for name, n in by_name)
            rows.append([str(kind), str(part["latents"].sum()), str(members), listed])
        notes = []
        if "not_testable" in self.metadata:
            notes.append(f"Residues are not testable: {self.metadata['not_testable']}")
        modulus = self.metadata.get("modulus", "10")
        widest = labels.assign(kept=labels["label"].isin(list(self.vectors)))
        shown = widest.sort_values(["kept", "members"], ascending=False, kind="stable")["label"]
        notes += [
            "A label is chosen on fitted tokens and confirmed on tokens held out, at a "
            f"false-discovery rate of {short(LEVEL)}.",
            f'One label: catalog["{next(iter(shown), NEITHER)}"]',
            f"Tables:    catalog.labels, catalog.residues({modulus}), catalog.ordinal()",
            f'A filter:  catalog.query("stability > .9 and modulus == {modulus}")',
        ]
        return Block(
            f"FeatureCatalog of {self.metadata.get('model', 'an unknown model')}: {labelled} of "
            f"{len(table)} latents of {table['member'].nunique()} members have a label",
            rows,
            notes,
        )

    def save(self, folder: Path) -> None:
        """Write the tables as Parquet, and `vectors.safetensors`."""
        for name, file in TABLES.items():
            write_parquet(getattr(self, name), folder / f"{file}.parquet")
        with replacing(folder / "vectors.safetensors") as partial:
            write_safetensors(self.vectors, partial, self.metadata)

    @classmethod
    def load(cls, folder: Path) -> "FeatureCatalog":
        """Read what `save` wrote.

        Raises:
            OrdinalError: a file is missing or cannot be read.
        """
        tables = {name: read_parquet(folder / f"{file}.parquet") for name, file in TABLES.items()}
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


def _natural(name: str) -> str:
    """A key that sorts `mod10/3` after `mod2/1`."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(9), name)
