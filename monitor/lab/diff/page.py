"""The HTML page of `lab diff`."""

from __future__ import annotations

import math
from pathlib import Path

from markupsafe import Markup

from monitor.lab.diff.run import DiffResult
from monitor.report.static_page import content_policy, page_css, page_environment, write_page


def write_diff_page(path: Path, result: DiffResult) -> None:
    """Writes one page, readable only by its owner, because it shows texts. Raises OSError."""
    env = page_environment("lab/diff")
    env.filters["share"] = lambda value: _dash(value) or f"{value:.1%}"
    env.filters["figure"] = lambda value, places=3: _dash(value) or f"{value:.{places}f}"
    env.filters["p"] = lambda value: _dash(value) or ("< 0.001" if value < 0.001 else f"{value:.3f}")
    css = page_css()
    page = env.get_template("diff.html.j2").render(
        css=Markup(css),  # noqa: S704 - our own file
        csp=content_policy(css, ""),
        result=result,
        request=result.request,
        reader=result.sets[0].shipped.reader,
    )
    write_page(path, page)


def _dash(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else ""
