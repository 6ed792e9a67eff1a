"""A catalog of three members, made up by hand, as a researcher asks it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from features.cards.evidence import held_out_figures
from features.cards.meaning import meaning
from features.catalog import FeatureCatalog
from features.statistics import bootstrap_median
from lm.errors import OrdinalError

MEMBERS = 3
D_MODEL = 8
SPITEFUL = "task/<b>days</b>&co"


def _latent(member: int, index: int, best: str, family: str, **known: object) -> dict[str, object]:
    modulus, residue = map(int, best[3:].split("/")) if family == "residue" else (0, 0)
    row = {
        "member": member,
        "index": index,
        "label": best,
        "best": best,
        "family": family,
        "modulus": modulus,
        "residue": residue,
        "sign": 1,
        "r2": 0.9,
        "r2_held_out": 0.8,
        "q_value": 0.001,
        "p_held_out": 0.001,
        "q_held_out": 0.002,
        "n_tokens": 40,
        "stability": 0.95,
        "density": 0.1,
        "precision": 0.9 if modulus else np.nan,
        "recall": 0.8 if modulus else np.nan,
        "cosine_class_mean": 0.9 if modulus == 10 else np.nan,
        "cosine_probe": 0.7 if modulus == 10 else np.nan,
    }
    return row | known


def _features() -> pd.DataFrame:
    rows = []
    for member in reversed(range(MEMBERS)):
        rows += [
            _latent(member, 0, "mod10/3", "residue", r2_held_out=0.7 + 0.1 * member),
            _latent(member, 1, "ordinal/days", "order", sign=-1, r2=0.5 + 0.1 * member),
            _latent(member, 2, SPITEFUL, "task"),
            _latent(member, 3, "mod2/1", "residue"),
            _latent(member, 4, "mod10/5", "residue", label="neither", p_held_out=np.nan),
        ]
    # Chosen for mod10/3 on fitted tokens, and refuted by those held out.
    refuted = {"label": "neither", "r2_held_out": -0.5, "q_held_out": 0.6, "stability": 0.2}
    rows.append(_latent(0, 5, "mod10/3", "residue", **refuted))
    rows.append(_latent(1, 6, "interval/40-49", "order"))
    rows.append(_latent(1, 7, "interval/7-19", "order"))
    return pd.DataFrame(rows)


def _residue_table() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "member": member,
                "modulus": modulus,
                "residue": residue,
                "held_out_hits": 3,
                "held_out_active": 4,
                "held_out_members": 6,
            }
            for member in range(MEMBERS)
            for modulus in (10, 7)
            for residue in range(modulus)
        ]
    )


@pytest.fixture
def catalog() -> FeatureCatalog:
    names = [*(f"mod10/{r}" for r in range(10)), "ordinal/days", "ordinal/months"]
    vectors = torch.nn.functional.normalize(
        torch.randn(len(names), D_MODEL, generator=torch.Generator().manual_seed(0)), dim=1
    )
    order = {"r2": 0.9, "r2_low": 0.8, "r2_high": 0.95, "r2_permuted": 0.1, "n_tokens": 28}
    return FeatureCatalog(
        _features(),
        _residue_table(),
        pd.DataFrame([{"name": name, **order} for name in names[-2:]]),
        dict(zip(names, vectors, strict=True)),
        {"model": "made up", "modulus": "10", "member": "2", "latents": str([*range(10)])},
    )


def _widest(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_latents_of_a_modulus_and_of_the_order(catalog) -> None:
    residues = catalog.residues(10)
    assert residues["label"].tolist() == ["mod10/3"] * MEMBERS  # mod10/5 was not confirmed
    assert residues["member"].tolist() == [0, 1, 2]
    assert catalog.residues(7).empty
    order = catalog.ordinal()["label"].tolist()
    assert order == ["interval/7-19", "interval/40-49", *["ordinal/days"] * MEMBERS]


def test_labels_are_counted(catalog) -> None:
    labels = catalog.labels.set_index("label")
    assert labels["latents"].sum() == len(catalog.features)
    assert labels.index[-1] == "neither"
    assert labels.loc["neither"].tolist() == ["neither", MEMBERS + 1, MEMBERS]
    assert labels.loc["interval/40-49"].tolist() == ["order", 1, 1]


def test_a_filter_sees_columns_and_the_callers_variables(catalog) -> None:
    least = 0.9  # noqa: F841 (the expression reads it)
    found = catalog.query("stability > @least and modulus == 10 and label != 'neither'")
    assert found["label"].tolist() == ["mod10/3"] * MEMBERS


@pytest.mark.parametrize("expression", ["stabilty > .9", "stability >", "label > 3"])
def test_a_filter_that_cannot_be_is_one_line(catalog, expression) -> None:
    with pytest.raises(OrdinalError, match=r"The columns: member, index, label") as raised:
        catalog.query(expression)
    assert "\n" not in str(raised.value)


def test_a_card_counts_the_latents_that_the_held_out_tokens_refuted(catalog) -> None:
    card = catalog["mod10/3"]
    assert (card.members, card.of_members, len(card.latents)) == (3, 3, 3)
    figures = card.evidence
    assert figures.loc["confirmed", ["value", "n"]].tolist() == [0.75, 4]
    assert figures.loc["r2_held_out", "value"] == pytest.approx(0.75)  # of -.5, .7, .8, .9
    assert figures.loc["worst_q_held_out", "value"] == 0.6
    assert figures.loc["stability", "control"] == pytest.approx(0.95)
    assert figures.loc["precision_held_out", ["value", "n"]].tolist() == [0.75, 12]
    assert figures.loc["recall_held_out", ["value", "n"]].tolist() == [0.5, 18]
    assert figures.loc["cosine_class_mean", "value"] == 0.9
    assert torch.equal(card.vector, catalog.vectors["mod10/3"])
    assert card.source.startswith("W_dec[3] of member 2")


def test_the_control_of_a_residue_is_the_widest_label_of_another_modulus(catalog) -> None:
    members = catalog["mod10/3"].evidence.loc["members"]
    assert (members["value"], members["control"], members["against"]) == (1, 0, "mod 7")
    extra = pd.DataFrame([_latent(m, 8, "mod7/2", "residue") for m in (0, 2)])
    more = replace(catalog, features=pd.concat([catalog.features, extra], ignore_index=True))
    assert more["mod10/3"].evidence.loc["members", "control"] == pytest.approx(2 / 3)


def test_a_residue_that_no_latent_bears_has_a_card_that_says_so(catalog) -> None:
    card = catalog["mod10/4"]
    assert (card.members, len(card.latents)) == (0, 0)
    assert "(0 of 3 members, 0 latents)" in repr(card)
    assert card.evidence.loc["members", "value"] == 0
    assert card.evidence.loc["members", "high"] == pytest.approx(0.708, abs=1e-3)  # Clopper-Pearson


def test_another_modulus_has_the_figures_over_all_numbers(catalog) -> None:
    figures = catalog["mod2/1"].evidence
    assert figures.loc["precision", ["value", "control"]].tolist() == pytest.approx([0.9, 0.5])
    assert figures.loc["recall", ["value", "control"]].tolist() == pytest.approx([0.8, 0.1])
    assert "precision_held_out" not in figures.index


def test_an_ordinal_card_has_the_direction_and_its_permuted_control(catalog) -> None:
    card = catalog["ordinal/days"]
    assert card.says == "falls with the index of days"
    assert card.evidence.loc["index_r2", ["value", "control", "n"]].tolist() == [0.9, 0.1, 28]
    assert torch.equal(card.vector, catalog.vectors["ordinal/days"])


def test_a_label_without_a_vector_names_the_latent_to_take(catalog) -> None:
    features = catalog.features
    best = (features["label"] == "interval/40-49") & (features["member"] == 1)
    card = catalog["interval/40-49"]
    assert card.vector is None
    assert f"run.ensemble.members[1].W_dec[{features.loc[best, 'index'].item()}]" in card.source


def test_an_unknown_label_names_those_near_it(catalog) -> None:
    with pytest.raises(OrdinalError, match="No latent has the label 'mod10/33'") as raised:
        catalog["mod10/33"]
    assert "mod10/3" in str(raised.value).split("Close to it:")[1]
    assert isinstance(raised.value, KeyError)
    assert "mod10/3" in catalog
    assert "mod10/33" not in catalog


def test_a_single_member_has_no_interval(catalog) -> None:
    alone = replace(
        catalog,
        features=catalog.features.query("member == 2").assign(stability=np.nan),
        residue_table=catalog.residue_table.query("member == 2"),
    )
    card = alone["mod10/3"]
    assert card.evidence["low"].isna().all()
    assert "stability" not in card.evidence.index
    assert "there is one member" in repr(card)


def test_a_pooled_share_is_drawn_by_members() -> None:
    """Members that differ: the interval spans them, and none where nothing was active."""
    table = _residue_table().query("modulus == 10")
    table["held_out_hits"] = table["member"].map({0: 4, 1: 2, 2: 0})
    figures = {figure.figure: figure for figure in held_out_figures(10, 3, table)}
    precision = figures["precision_held_out"]
    assert (precision.value, precision.low, precision.high) == (0.5, 0.0, 1.0)
    silent = held_out_figures(10, 3, table.assign(held_out_active=0, held_out_hits=0))
    assert [figure.figure for figure in silent] == ["recall_held_out"]


def test_the_median_of_clusters_covers_what_they_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        centre = rng.standard_normal(25)
        values = np.repeat(centre, 4) + 0.1 * rng.standard_normal(100)
        _, low, high = bootstrap_median(values, np.repeat(np.arange(25), 4), draws=200, seed=seed)
        covered += low <= 0 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_what_is_shown_fits_80_columns_and_says_what_to_type(catalog) -> None:
    shown = repr(catalog)
    assert 'catalog["ordinal/days"]' in shown  # in all members, and a vector is kept for it
    assert f"{MEMBERS * 4 + 2} of {len(catalog.features)} latents of 3 members" in shown
    for text in [shown, *(repr(catalog[label]) for label in catalog.labels["label"])]:
        assert _widest(text) <= 80
    many = [_latent(0, i, f"mod{i}/1", "residue") for i in range(10, 60)]
    crowd = replace(catalog, features=pd.concat([catalog.features, pd.DataFrame(many)]))
    assert _widest(repr(crowd)) <= 80


def test_where_residues_are_not_testable_the_catalog_says_why(catalog, tmp_path) -> None:
    numbers = catalog.features["family"] == "residue"
    words = replace(
        catalog,
        features=catalog.features[~numbers].drop(columns=["cosine_class_mean", "cosine_probe"]),
        residue_table=pd.DataFrame(),
        vectors={},
        metadata={"not_testable": "numbers are split into digits, each of which is a token"},
    )
    words.save(tmp_path)
    again = FeatureCatalog.load(tmp_path)
    assert "Residues are not testable: numbers are split into digits" in repr(again)
    assert _widest(repr(again)) <= 80
    assert again.residues().empty
    assert again["interval/7-19"].evidence.loc["members", "value"] == pytest.approx(1 / 3)


def test_html_escapes_what_a_label_holds(catalog) -> None:
    for html in (catalog[SPITEFUL]._repr_html_(), replace(catalog, metadata={"model": SPITEFUL})):
        html = html if isinstance(html, str) else html._repr_html_()
        assert "<b>days" not in html
        assert "&lt;b&gt;days&lt;/b&gt;&amp;co" in html


def test_what_labels_say() -> None:
    said = {
        "mod10/3": "fires on numbers whose last digit is 3",
        "mod2/1": "fires on odd numbers",
        "mod7/4": "fires on numbers that leave 4 when divided by 7",
        "hundreds/2": "fires on numbers from 200 to 299",
        "hundreds/0": "fires on numbers from 0 to 99",
        "task/number_words+days": "fires on number words and days",
        "form/space-capital": "fires on tokens with a leading space and with a capital",
        "ordinal/shared": "rises or falls with the index in every task",
    }
    assert {label: meaning(label) for label in said} == said


def test_a_catalog_comes_back_and_says_the_same(catalog, tmp_path) -> None:
    catalog.save(tmp_path)
    again = FeatureCatalog.load(tmp_path)
    pd.testing.assert_frame_equal(again.residue_table, catalog.residue_table)
    assert (tmp_path / "residues.parquet").is_file()
    assert repr(again) == repr(catalog)
    pd.testing.assert_frame_equal(again["mod10/3"].evidence, catalog["mod10/3"].evidence)
