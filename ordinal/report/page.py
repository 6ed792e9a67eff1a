"""Draws up report.html: one file that opens without a network."""

import json
from collections.abc import Callable
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from lm.files import replacing
from ordinal.figures.style import TEMPLATES, task_name
from ordinal.report import patching, sections
from ordinal.report.context import in_context
from ordinal.report.controls import controls
from ordinal.report.operators import operators
from ordinal.report.structure import structure
from ordinal.report.text import text
from ordinal.run_folder import Run

HERE = Path(__file__).parent
SECTIONS: tuple[Callable[[Run], sections.Section], ...] = (
    sections.header,
    sections.scorecard,
    sections.heads,
    sections.logits,
    sections.features,
    patching.ablation,
    patching.arithmetic,
    operators,
    controls,
    in_context,
    text,
    structure,
    sections.order,
)


def write_report(run: Run) -> None:
    """Write `report.html` into the run folder."""
    page = render(run)
    with replacing(run.folder / "report.html") as partial:
        partial.write_text(page, encoding="utf-8")


def render(run: Run) -> str:
    """The page as text."""
    return fill("report.html", **{section.__name__: section(run) for section in SECTIONS})


def fill(template: str, **content: object) -> str:
    """A page whose figures are drawn, light or dark, by the scripts that it carries."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["plot"] = plot
    environment.filters["task"] = lambda name: Markup(task_name(name))
    return environment.get_template(template).render(
        content,
        css=Markup((HERE / "report.css").read_text()),
        js=Markup((HERE / "report.js").read_text()),
        plotly_js=Markup(get_plotlyjs()),
        templates=_script({mode: t.to_plotly_json() for mode, t in TEMPLATES.items()}),
    )


def plot(figure: go.Figure, description: str = "") -> Markup:
    """A figure's place on the page, with its data; the page's script draws it when it is near."""
    spec = json.loads(figure.to_json() or "{}")
    del spec["layout"]["template"]  # the script sets the one for light or dark
    height = spec["layout"]["height"]
    return Markup(
        '<div class="plot" role="img" aria-label="{}" style="height:{}px">'
        '<script type="application/json">{}</script></div>'
    ).format(description, height, _script(spec))


def _script(content: object) -> Markup:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))
