"""Naming pages: an index of the latents that want a name, and one HTML page for each, all self-contained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from detectors.feature_set import FeatureSet
from monitor.lab.curation.logit_lens import NotAvailable
from monitor.lab.labelling.sheet import NamingSheet
from monitor.report.shading import LEVELS
from monitor.report.static_page import asset, content_policy, page_css, page_environment, write_page

FOLDER = "features"


def page_name(sheet: NamingSheet) -> str:
    """The file name of a latent's page in FOLDER."""
    return f"latent-{sheet.feature.index:05d}.html"


def write_naming_pages(out: Path, sheets: Sequence[NamingSheet], used: FeatureSet) -> None:
    """Writes index.html and a page per latent, readable only by their owner. Raises OSError if it can't."""
    env = page_environment("lab/labelling")
    env.filters["share"] = lambda value: f"{value:.2%}" if value < 0.1 else f"{value:.1%}"
    env.filters["page"] = page_name
    css = page_css() + asset("monitor.lab.curation", "candidate.css")
    total = sum(abs(feature.weight or 0.0) for feature in used.features) or 1.0
    shared = {
        "css": Markup(css),  # noqa: S704 - our own files
        "csp": content_policy(css, ""),
        "used": used,
        "sheets": sheets,
        "folder": FOLDER,
        "total": total,
    }
    write_page(out / "index.html", env.get_template("naming_index.html.j2").render(shared))
    page = env.get_template("naming_sheet.html.j2")
    for n, sheet in enumerate(sheets):
        html = page.render(
            **shared,
            sheet=sheet,
            earlier=sheets[n - 1] if n else None,
            later=sheets[n + 1] if n + 1 < len(sheets) else None,
            levels=range(1, LEVELS + 1),
            missing=sheet.lens.reason if isinstance(sheet.lens, NotAvailable) else None,
        )
        write_page(out / FOLDER / page_name(sheet), html)
