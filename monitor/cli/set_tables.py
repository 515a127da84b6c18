"""Tables of feature sets for a terminal of 80 columns: all of them in an overview, or one with all that is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from detectors.calibration import Calibration
from detectors.feature_set import Feature, FeatureSet
from detectors.metrics import Metric, Range, summarised
from monitor.sets.load import LoadedSet

_SHOWN_FEATURES = 12


def overview(sets: Iterable[LoadedSet]) -> Table:
    """Two lines for each set; the AUROC is that of held-out sources."""
    table = _table()
    table.add_column("set\nversion, status", overflow="fold")
    table.add_column("severity")
    table.add_column("segments")
    table.add_column("threshold", justify="right")
    table.add_column("FPR target,\nmeasured", justify="right")
    table.add_column("held-out AUROC\nby others, own", justify="right")
    for loaded in sets:
        used = loaded.set
        summary = summarised(used.metrics)
        table.add_row(
            f"[bold]{used.id}[/]\n{used.version} {used.status}",
            used.severity,
            ",\n".join(used.segments),
            threshold_text(used),
            "" if used.calibration is None else _rates(used.calibration),
            f"{range_text(summary.auroc_by_others)}\n{range_text(summary.auroc_own)}" if used.metrics else "",
        )
    return table


def threshold_text(used: FeatureSet) -> str:
    """The threshold of a set's score, or its condition."""
    if used.condition is None:
        return f"{used.threshold:.3g}"
    return used.condition.kind if used.condition.k is None else f"{used.condition.k} of {len(used.features)}"


def range_text(found: Range | None) -> str:
    """Lowest to highest, with two digits; one number if they are the same."""
    if found is None:
        return "-"
    low, high = (f"{value:.2f}" for value in found)
    return low if low == high else f"{low} to {high}"


def show(console: Console, loaded: LoadedSet) -> None:
    """Prints one set: what it means, how it decides, calibration, figures, features and known faults."""
    used = loaded.set

    def say(text: str, name: str = "") -> None:
        console.print((f"[bold]{name}:[/] " if name else "") + escape(text), highlight=False)

    console.print(f"[bold]{escape(used.title)}[/] ({used.id} {used.version}, {used.status})", highlight=False)
    say(used.description)
    say(used.definition, "Definition")
    several = "" if len(used.segments) == 1 else f"; the event's score is their {used.combine_segments}"
    say(", ".join(used.segments) + several, "Segments")
    over = f"windows of {used.pooling.window_tokens} tokens" if used.pooling.window_tokens else "tokens"
    say(f"{used.detector}, {len(used.features)} features, {used.pooling.kind} over {over}", "Detector")
    say(f"{threshold_text(used)}, severity {used.severity}", "Threshold")
    for escalation in used.escalations:
        say(f"{escalation.severity} at a score of {escalation.score:.3g} or more", "Escalation")
    if (c := used.calibration) is not None:
        say(
            f"target {c.target_fpr:.2%} false positives, measured {c.measured_fpr:.2%} (95 % interval "
            f"{c.interval_95[0]:.2%} to {c.interval_95[1]:.2%}); threshold from {c.n} benign texts, measured on "
            f"{c.measured_n} others: {c.benign}",
            "Calibration",
        )
    if used.metrics:
        say("AUROC by source; held out, unless marked *", "Metrics")
        console.print(_metrics(used.metrics))
    strongest = _strongest(used)
    few = len(strongest) == len(used.features)
    say("all" if few else f"the {len(strongest)} highest weights of {len(used.features)}; --json has all", "Features")
    console.print(_features(strongest))
    for name, lines in (
        ("False positives", used.falsepositives),
        ("Known gaps", used.known_gaps),
        ("References", used.references),
    ):
        for line in lines:
            say(line, name)
    console.print(f"[dim]{escape(str(loaded.path))}\nsha256 {loaded.sha256}[/]", highlight=False, soft_wrap=True)


def _rates(calibration: Calibration) -> str:
    return f"{calibration.target_fpr:.1%}\n{calibration.measured_fpr:.1%}"


def _metrics(metrics: dict[str, Metric]) -> Table:
    table = _table()
    table.add_column("source", overflow="fold")
    for column in ("positive,\nharmless", "AUROC", "dense\nprobe", "words", "pairs\nwon", "recall at\n1 % FPR"):
        table.add_column(column, justify="right")
    for name, m in metrics.items():
        figures = (m.auroc, m.dense_probe_auroc, m.word_only_auroc, m.pair_win_rate, m.recall_at_1pct_fpr)
        table.add_row(
            escape(name) + ("" if m.held_out else " *"),
            f"{m.n_positive}, {m.n_negative}",
            *("" if figure is None else f"{figure:.2f}" for figure in figures),
        )
    return table


def _strongest(used: FeatureSet) -> Sequence[Feature]:
    """The features with the highest weights, or all if they are few."""
    if len(used.features) <= _SHOWN_FEATURES:
        return used.features
    return sorted(used.features, key=lambda feature: -(feature.weight or 0.0))[:_SHOWN_FEATURES]


def _features(features: Sequence[Feature]) -> Table:
    table = _table()
    table.add_column("feature", justify="right")
    table.add_column("label", overflow="fold")
    table.add_column("weight", justify="right")
    table.add_column("threshold", justify="right")
    for feature in features:
        numbers = ("" if n is None else f"{n:.4g}" for n in (feature.weight, feature.threshold))
        table.add_row(str(feature.index), escape(feature.label), *numbers)
    return table


def _table() -> Table:
    return Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
