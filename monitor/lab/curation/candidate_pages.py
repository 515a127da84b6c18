"""Candidate pages: a ranked table and one HTML page per candidate, all self-contained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from detectors.feature_set import ReaderRef
from monitor.lab.curation.candidate_set import around_label, feature_line
from monitor.lab.curation.candidates import FeatureCandidate
from monitor.lab.curation.contexts import Histogram
from monitor.lab.curation.logit_lens import NotAvailable
from monitor.report.shading import LEVELS
from monitor.report.static_page import asset, content_policy, page_css, page_environment, write_page

FOLDER = "candidates"
_HEIGHT = 100.0  # of the histogram, in units of the SVG
_WIDTH = 480.0


@dataclass(frozen=True)
class Bar:
    """One rectangle of the histogram."""

    side: str
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class PageFacts:
    """What all pages share. `pooling` is the one used for ranking, `benign` the number of benign texts."""

    category: str
    reader: ReaderRef
    pooling: str
    target_fpr: float
    benign: int
    notes: tuple[str, ...]


def page_name(candidate: FeatureCandidate) -> str:
    """The file name of a candidate's page in FOLDER."""
    return f"latent-{candidate.latent:05d}.html"


def write_pages(out: Path, candidates: Sequence[FeatureCandidate], facts: PageFacts) -> None:
    """Writes index.html and a page per candidate, readable only by their owner. Raises OSError if it can't."""
    env = _environment()
    css = page_css() + asset("monitor.lab.curation", "candidate.css")
    js = asset("monitor.lab.curation", "candidate.js")
    shared = {
        "css": Markup(css),  # noqa: S704 - our own files
        "js": Markup(js),  # noqa: S704 - our own file
        "csp": content_policy(css, js),
        "facts": facts,
        "candidates": candidates,
        "folder": FOLDER,
    }
    write_page(out / "index.html", env.get_template("candidate_index.html.j2").render(shared))
    page = env.get_template("candidate.html.j2")
    for n, candidate in enumerate(candidates):
        before, after = around_label(candidate)
        html = page.render(
            **shared,
            candidate=candidate,
            earlier=candidates[n - 1] if n else None,
            later=candidates[n + 1] if n + 1 < len(candidates) else None,
            line=feature_line(candidate),
            before=before,
            after=after,
            bars=bars(candidate.contexts.histogram),
            levels=range(1, LEVELS + 1),
            missing=candidate.lens.reason if isinstance(candidate.lens, NotAvailable) else None,
        )
        write_page(out / FOLDER / page_name(candidate), html)


def bars(histogram: Histogram) -> list[Bar]:
    """Three bars for each bin; heights are log(1 + count), relative to the highest bar."""
    top = max(int(counts.max(initial=0)) for counts in histogram.counts.values())
    drawn: list[Bar] = []
    for place, (side, counts) in enumerate(histogram.counts.items()):
        step = _WIDTH / counts.size
        width = step / (len(histogram.counts) + 0.6)
        for n, count in enumerate(counts):
            if not count:
                continue
            height = _HEIGHT * math.log1p(int(count)) / math.log1p(top)
            low, high = (histogram.highest * edge / counts.size for edge in (n, n + 1))
            title = f"{side}: {count} token{'' if count == 1 else 's'} from {low:.3g} to {high:.3g}"
            x = n * step + place * width
            drawn.append(Bar(side, round(x, 2), round(_HEIGHT - height, 2), round(width, 2), round(height, 2), title))
    return drawn


def _environment() -> Environment:
    env = page_environment("lab/curation")
    env.filters["figure"] = _figure
    env.filters["share"] = lambda value: f"{value:.2%}" if value < 0.1 else f"{value:.1%}"
    env.filters["page"] = page_name
    return env


def _figure(value: float, places: int = 2) -> str:
    return "–" if math.isnan(value) else f"{value:.{places}f}"
