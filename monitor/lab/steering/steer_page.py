"""The page of a steered feature: figures, curve, and the texts side by side, shaded by the feature's activation."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from monitor.lab.steering.steer import SteeredText
from monitor.lab.steering.steer_figures import SteerFigures
from monitor.report.shading import LEVELS, Run, shaded
from monitor.report.static_page import asset, content_policy, page_css, page_environment, write_page
from monitor.report.visible_text import visible

_MOST_TEXTS = 400
"""Texts that a page shows; figures are of all."""


@dataclass(frozen=True)
class ShownText:
    """One text with its heading."""

    heading: str
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class ShownPrompt:
    """A prompt and the texts on it, the base first."""

    text: str
    texts: tuple[ShownText, ...]


@dataclass(frozen=True)
class PageFacts:
    """What stands above the figures."""

    feature: int
    label: str
    made: str
    """Model, layer, set and what was done."""
    prompts: tuple[str, ...]


def write_steer_page(
    path: Path, facts: PageFacts, texts: Sequence[SteeredText], figures: Sequence[SteerFigures], plot: Path | None
) -> None:
    """Writes the page, readable only by its owner. Raises OSError if it can't."""
    env = page_environment("lab/steering")
    env.filters["figure"] = figure
    css = page_css() + asset("monitor.lab.steering", "steer.css")
    image = None if plot is None else "data:image/png;base64," + base64.b64encode(plot.read_bytes()).decode()
    html = env.get_template(
        "steer.html.j2"
    ).render(
        css=Markup(css),  # noqa: S704 - our own files
        csp=content_policy(css, "") + "; img-src data:",
        feature=facts.feature,
        label=facts.label,
        made=facts.made,
        figures=figures,
        plot=image,
        levels=range(1, LEVELS + 1),
        prompts=_prompts(facts.prompts, texts[:_MOST_TEXTS]),
    )
    write_page(path, html)


def figure(value: float) -> str:
    """Three digits; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.3g}"


def heading(text: SteeredText) -> str:
    """What was done to the model that wrote a text, and the text's score."""
    condition = text.condition
    score = "" if math.isnan(text.score) else f", score {text.score:.3f}"
    if condition.kind == "base":
        return f"base{score}"
    which = "" if condition.kind == "feature" else f" {condition.which}"
    return f"{condition.kind}{which} at {condition.value:.4g}{score}"


def _prompts(prompts: Sequence[str], texts: Sequence[SteeredText]) -> list[ShownPrompt]:
    strongest = max((a for text in texts for _, _, a in text.activations), default=0.0) or 1.0
    return [
        ShownPrompt(
            prompt,
            tuple(ShownText(heading(text), _runs(text, strongest)) for text in texts if text.prompt == number),
        )
        for number, prompt in enumerate(prompts)
    ]


def _runs(text: SteeredText, strongest: float) -> tuple[Run, ...]:
    runs = shaded(text.text, [(start, end, a / strongest) for start, end, a in text.activations])
    return tuple(Run(visible(run.text), run.strength) for run in runs)
