"""The curve of a sweep: score, KL divergence and perplexity by value, for a feature and its controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monitor.lab.steering.steer import Kind
from monitor.lab.steering.steer_figures import SteerFigures

_KINDS: tuple[tuple[Kind, str], ...] = (
    ("feature", "tab:orange"),
    ("control feature", "tab:blue"),
    ("random direction", "tab:gray"),
)


def write_sweep(path: Path, figures: Sequence[SteerFigures], threshold: float | None) -> None:
    """Three panels as PNG. The dashed line is the set's threshold, the dotted one the model without an edit."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    panels = figure.subplots(1, 3)
    draw_scores(panels[0], figures, threshold)
    for axes, name, title in zip(
        panels[1:],
        ("divergence", "perplexity"),
        ("KL to the base, nats a token", "perplexity under the base"),
        strict=True,
    ):
        for kind, colour in _KINDS:
            chosen = _of(figures, kind)
            axes.plot([f.value for f in chosen], [getattr(f, name) for f in chosen], "o-", color=colour, label=kind)
        axes.set(xlabel="activation", ylabel=title, yscale="symlog" if name == "divergence" else "log")
    panels[0].legend(fontsize="small")
    figure.savefig(path, dpi=120)


def write_examples(path: Path, examples: Mapping[str, tuple[Sequence[SteerFigures], float | None]]) -> None:
    """A panel with the scores of each example, as PNG."""
    columns = 3
    rows = -(-len(examples) // columns)
    figure = Figure(figsize=(11, 3.0 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (title, (figures, threshold)) in zip(panels, examples.items(), strict=False):
        draw_scores(axes, figures, threshold)
        _draw_held(axes, figures, title)
    for axes in list(panels)[len(examples) :]:
        axes.set_axis_off()
    figure.axes[0].legend(fontsize="x-small")
    figure.savefig(path, dpi=110)


def _draw_held(axes: Axes, figures: Sequence[SteerFigures], title: str) -> None:
    for kind, colour in _KINDS:
        chosen = _of(figures, kind)
        axes.plot([f.value for f in chosen], [f.held_score for f in chosen], "s--", color=colour, label=f"{kind}, held")
    axes.set_title(title, fontsize="small")


def draw_scores(axes: Axes, figures: Sequence[SteerFigures], threshold: float | None) -> None:
    """The mean score of each kind by value, with 95 % intervals."""
    base = next(f for f in figures if f.kind == "base")
    axes.axhline(base.score, color="black", linestyle=":", linewidth=1, label="base")
    if threshold is not None:
        axes.axhline(threshold, color="black", linestyle="--", linewidth=1, label="threshold")
    for kind, colour in _KINDS:
        chosen = _of(figures, kind)
        x = [f.value for f in chosen]
        axes.plot(x, [f.score for f in chosen], "o-", color=colour, label=f"{kind}, text")
        low, high = [f.score_interval[0] for f in chosen], [f.score_interval[1] for f in chosen]
        axes.fill_between(x, low, high, color=colour, alpha=0.15)
    axes.set(xlabel="activation", ylabel="set's score")


def _of(figures: Sequence[SteerFigures], kind: Kind) -> list[SteerFigures]:
    return sorted((f for f in figures if f.kind == kind), key=lambda f: f.value)
