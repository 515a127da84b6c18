"""Plots: ROC curves and score histograms as PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from monitor.lab.evaluation.evaluate import DetectorScores
from monitor.lab.fit.contenders import Floats

_BINS = 40
_SIDES = (("risky", 1, "tab:red"), ("harmless", 0, "tab:blue"))


def write_roc(stem: Path, detector_scores: Sequence[DetectorScores]) -> bool:
    """ROC curves of all detectors of one set on one file, as `stem`.png and .svg. False if one label is missing."""
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.subplots()
    for done in detector_scores:
        labels, scores = _compared(done)
        if np.unique(labels).size < 2:
            return False
        fpr, tpr, _ = roc_curve(labels, scores)
        axes.plot(fpr, tpr, label=done.detector, linewidth=2 if done.threshold is not None else 1)
    axes.plot([0, 1], [0, 1], color="0.7", linestyle=":", linewidth=1)
    axes.set(xlabel="false-positive rate", ylabel="recall", title=_title(detector_scores[0]))
    axes.legend(fontsize="small")
    _save(figure, stem)
    return True


def write_histogram(stem: Path, done: DetectorScores) -> None:
    """Scores of one detector by label, with benign rows and the threshold, as `stem`.png and .svg."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    scores, benign = done.scores[~np.isnan(done.scores)], done.benign[~np.isnan(done.benign)]
    labels = done.file.labels[~np.isnan(done.scores)]
    every = np.concatenate([scores, benign])
    if every.size:
        edges = np.histogram_bin_edges(every, _BINS)
        for name, label, colour in _SIDES:
            _bars(axes, scores[labels == label], edges, f"{name} rows", colour)
        _bars(axes, benign, edges, "benign traffic", "tab:green")
    if done.threshold is not None:
        axes.axvline(done.threshold, color="black", linestyle="--", linewidth=1, label="threshold")
    axes.set(xlabel=f"score of {done.detector}", ylabel="share of rows", title=_title(done))
    axes.legend(fontsize="small")
    _save(figure, stem)


def _bars(axes: matplotlib.axes.Axes, values: Floats, edges: Floats, label: str, colour: str) -> None:
    if values.size:
        weights = np.full(values.size, 1 / values.size)
        axes.hist(
            values, bins=list(edges), weights=weights, histtype="step", label=f"{label} ({values.size})", color=colour
        )


def _compared(done: DetectorScores) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Floats]:
    """Labels and scores as AUROC compares them: benign rows are the negatives if the file has none."""
    labels, scores = done.file.labels, done.scores
    if (labels == 1).all():
        labels = np.concatenate([labels, np.zeros(done.benign.size, np.int64)])
        scores = np.concatenate([scores, done.benign])
    floor = np.nanmin(scores, initial=0.0) - 1
    return labels, np.where(np.isnan(scores), floor, scores)


def _title(done: DetectorScores) -> str:
    return f"{done.file.set_id} on {Path(done.file.file).name}"


def _save(figure: Figure, stem: Path) -> None:
    figure.savefig(stem.with_name(f"{stem.name}.png"), dpi=120)
    with matplotlib.rc_context({"svg.hashsalt": "latentwatch"}):  # so that the same plot gives the same bytes
        figure.savefig(stem.with_name(f"{stem.name}.svg"), metadata={"Date": None})
