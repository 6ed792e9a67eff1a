"""report.html says what the tables say, loads nothing, and escapes what it did not write."""

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from datasets import Dataset

from lm.files import write_parquet
from ordinal.report.page import render, write_report
from ordinal.run_folder import Run

REASON = "modulus 10 is not testable: some residue has 1 numbers that are single tokens"


class Page(HTMLParser):
    """The page's elements, its words, and the JSON of its figures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.json: list[dict] = []
        self.inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag in ("script", "style"):
            self.inside.append(attributes.get("type") or tag)

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self.inside.pop()

    def handle_data(self, data):
        if not self.inside:
            self.words += data
        elif self.inside[-1] == "application/json":
            self.json.append(json.loads(data))

    @property
    def figures(self) -> list[dict]:
        return [found for found in self.json if "data" in found]


@pytest.fixture(scope="module")
def page(finished: Run) -> Page:
    return Page((finished.folder / "report.html").read_text())


@pytest.fixture
def copy(finished: Run, tmp_path: Path) -> Run:
    """The same run in a folder that may be written to."""
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns("wandb", "*.html"))
    return Run(folder, finished.config)


def test_every_claim_is_there_as_summary_json_has_it(finished: Run, page: Page) -> None:
    cells = [a for tag, a in page.elements if tag == "td" and "data-value" in a]
    claims = finished.read_json("summary.json")["claims"]
    shown = {tuple(cell[f"data-{key}"] for key in ("value", "low", "high")) for cell in cells}
    tested = [claim for claim in claims if claim["verdict"] != "not testable"]
    assert len(cells) == len(tested) < len(claims)
    for claim in tested:
        assert tuple(str(claim[key]) for key in ("value", "low", "high")) in shown
        printed = f"{claim['value']:.2f} [{claim['low']:.2f}, {claim['high']:.2f}]"
        for text in (claim["claim"], claim["control"], claim["bar"], claim["verdict"], printed):
            assert text in page.words


def test_what_did_not_hold_is_said_in_words(finished: Run, page: Page) -> None:
    claims = finished.read_json("summary.json")["claims"]
    for verdict in ("supported", "not supported", "inconclusive", "not testable"):
        assert f"{sum(claim['verdict'] == verdict for claim in claims)} {verdict}" in page.words


def test_what_was_fitted_here_is_not_said_to_come_from_elsewhere(page: Page) -> None:
    assert "numbers that its member never saw" in page.words
    assert "metrics.jsonl" in page.words
    assert "trained elsewhere" not in page.words


def test_nothing_is_loaded(finished: Run, page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "srcset", "href", "data", "poster", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith("#"), (tag, name, value)
    policy = [a["content"] for _, a in page.elements if a.get("http-equiv")]
    assert policy[0].startswith("default-src 'none'")
    css = (Path(render.__code__.co_filename).parent / "report.css").read_text()
    assert "url(" not in css
    assert "@import" not in css
    assert (finished.folder / "report.html").stat().st_size < 8e6


def test_every_figure_is_described_and_has_a_height(page: Page) -> None:
    places = [a for _, a in page.elements if a.get("class") == "plot"]
    assert len(places) == len(page.figures) > 20
    assert all(place["aria-label"] and "height" in str(place["style"]) for place in places)


def test_a_run_without_residues_says_why(copy: Run) -> None:
    catalog = copy.catalog
    metadata = {k: v for k, v in catalog.metadata.items() if k not in ("member", "latents")}
    metadata |= {"not_testable": REASON}
    replace(catalog, residue_table=pd.DataFrame(), metadata=metadata).save(copy.folder)
    for name in ("ablation", "arithmetic", "edits"):
        write_parquet(pd.DataFrame(), copy.verification / f"{name}.parquet")
    claim = {
        "criterion": "features found",
        "claim": "mod-10 features",
        "control": REASON,
        "n": 0,
        "bar": "",
    }
    claim |= {"value": None, "low": None, "high": None, "verdict": "not testable"}
    claim |= {"directions": "", "task": ""}
    copy.write_json("summary.json", {"model": "m", "claims": [claim]})
    page = Page(render(Run(copy.folder, copy.config)))
    assert page.words.count(f"Not testable. {REASON}") == 4
    assert f"Not testable: mod-10 features, because {REASON}" in page.words
    assert page.figures


def test_words_of_a_model_do_not_become_markup(copy: Run, page: Page) -> None:
    untouched = page
    evil = "</script><b>x"
    summary = copy.read_json("summary.json")
    summary["claims"][0]["claim"] = evil
    copy.write_json("summary.json", summary)
    logits = copy.table("logits")
    logits[["source", "candidate"]] = logits[["source", "candidate"]].replace(" Monday", evil)
    write_parquet(logits, copy.verification / "logits.parquet")
    activations = copy.activations
    rows = activations.tokens.table.replace({"text": {" monday": evil, " Monday": evil}})
    dataset = Dataset.from_pandas(rows, activations.tokens.dataset.features)
    tokens = replace(activations.tokens, dataset=dataset)
    replace(activations, tokens=tokens).save(copy.folder / "activations.safetensors")
    write_report(fresh := Run(copy.folder, copy.config))
    page = Page((fresh.folder / "report.html").read_text())
    assert evil in page.words
    drawn = json.dumps(page.figures)
    assert "&lt;/script&gt;&lt;b&gt;x" in drawn
    assert "<b>x" not in drawn
    bold = [sum(tag == "b" for tag, _ in found.elements) for found in (page, untouched)]
    assert bold[0] == bold[1]
