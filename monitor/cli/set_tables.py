"""Tables of feature sets for a terminal: all of them in an overview, or one with everything that is known of it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monitor.sets.load import LoadedSet


def overview(sets: Iterable[LoadedSet]) -> Table:
    """One row for each set."""
    table = Table(
        "set", "version", "status", "severity", "detector", "features", "threshold", "AUROC by left-out source"
    )
    for loaded in sets:
        used = loaded.set
        aurocs = [
            f"{name} {metric.auroc:.2f}"
            for name, metric in used.metrics.items()
            if metric.left_out and metric.auroc is not None
        ]
        at_least = used.condition.at_least
        table.add_row(
            used.id,
            used.version,
            used.status,
            used.severity,
            used.detector,
            str(len(used.features)),
            "per feature" if at_least is None else f"{at_least:.3g}",
            escape(", ".join(aurocs)),
        )
    return table


def show(console: Console, loaded: LoadedSet) -> None:
    """Prints one set: what it means, its features, calibration, figures and known faults."""
    used = loaded.set
    console.print(f"[bold]{escape(used.title)}[/] ({used.id} {used.version}, {used.status})", highlight=False)
    console.print(escape(used.description), highlight=False)
    console.print(f"[bold]Counts as positive:[/] {escape(used.definition)}", highlight=False)
    features = Table("feature", "label", "weight", "threshold", title="Features")
    for feature in used.features:
        numbers = ("" if n is None else f"{n:.4g}" for n in (feature.weight, feature.threshold))
        features.add_row(str(feature.index), escape(feature.label), *numbers)
    console.print(features)
    if used.calibration is not None:
        c = used.calibration
        console.print(
            f"Calibrated to {c.target_fpr:.2%} false positives on {escape(c.benign)} (n = {c.n}); measured "
            f"{c.measured_fpr:.2%} on {c.measured_n} others (95 % interval {c.interval_95[0]:.2%} to "
            f"{c.interval_95[1]:.2%})",
            highlight=False,
        )
    metrics = Table("source", "left out", "AUROC", "recall at 1 % FPR", "dense probe", "word-only", "n+", "n-")
    for name, m in used.metrics.items():
        figures = (
            "" if n is None else f"{n:.3f}"
            for n in (m.auroc, m.recall_at_1pct_fpr, m.dense_probe_auroc, m.word_only_auroc)
        )
        metrics.add_row(escape(name), "yes" if m.left_out else "no", *figures, str(m.n_positive), str(m.n_negative))
    console.print(metrics)
    for title, lines in (("False positives", used.falsepositives), ("Known gaps", used.known_gaps)):
        for line in lines:
            console.print(f"[bold]{title}:[/] {escape(line)}", highlight=False)
    console.print(f"[dim]{escape(str(loaded.path))}, sha256 {loaded.sha256}[/]", highlight=False)
