"""Draws up report.html."""

from lm.files import replacing
from ordinal.run import Run


def write_report(run: Run) -> None:
    """Write `report.html` into the run folder."""
    with replacing(run.folder / "report.html") as partial:
        partial.write_text("<html></html>")
