"""Draws the curves as one small PNG."""

from __future__ import annotations

from pathlib import Path

from monitor.bench.results import BenchReport

PLOT_FILE = "scaling.png"
_PANELS = (
    ("features", "curated features"),
    ("sae_width", "latents of the SAE"),
    ("length", "tokens per sequence"),
    ("batch", "sequences per batch"),
    ("turn", "turn of the conversation"),
)


def write_plot(report: BenchReport, path: Path) -> Path:
    """Writes `path` if it ends in .png, else `scaling.png` in that folder. Returns the path of the file.

    Shows tokens/s by variable; for turns, milliseconds per event.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    file = path if path.suffix == ".png" else path / PLOT_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    panels = [(name, title) for name, title in _PANELS if any(p.variable == name for p in report.scaling)]
    figure, axes = plt.subplots(1, max(1, len(panels)), figsize=(3.2 * max(1, len(panels)), 2.8), squeeze=False)
    for axis, (variable, title) in zip(axes[0], panels, strict=False):
        points = [p for p in report.scaling if p.variable == variable]
        for series in dict.fromkeys(p.series for p in points):
            line = [p for p in points if p.series == series]
            heights = [p.ms if variable == "turn" else p.tokens_per_s for p in line]
            axis.plot([p.value for p in line], heights, marker="o", markersize=3, label=series)
        axis.set_xlabel(title)
        axis.set_ylabel("ms per event" if variable == "turn" else "tokens/s")
        axis.set_ylim(bottom=0)
        if variable != "turn":
            axis.set_xscale("log", base=2)
        axis.legend(fontsize=7)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(file, dpi=80)
    plt.close(figure)
    return file
