"""The files of one evaluation: config, log, figures, report and plots."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from monitor.lab.evaluation.comparison import Figures, by_file, figure_text
from monitor.lab.evaluation.evaluate import SHIPPED, DetectorScores, EvaluationRequest, EvaluationResult
from monitor.lab.evaluation.plots import write_histogram, write_roc
from monitor.lab.run_folder import run_config, write_json, write_log

_HEAD = (
    "| Detector | n+ / n- | AUROC (95 % interval) | length-matched | AUPRC | recall at 1 % FPR | at 0.1 % | pairs won "
    "| FPR at threshold |\n|---|---|---|---|---|---|---|---|---|"
)
_LEGEND = (
    "`shipped` is the set itself, scored by the sidecar's engine; all others see the same text. AUROC and "
    "AUPRC compare the file's positives with its own negatives (or with the benign rows if it has none). "
    "Length-matched AUROC compares only texts whose lengths differ by at most a quarter. Recall and the "
    "false-positive rate use the benign rows if there are any. Intervals are 95 %: a bootstrap over "
    "pairs, and Clopper-Pearson for the false-positive rate."
)


def write_run(folder: Path, request: EvaluationRequest, result: EvaluationResult, config_sha256: str) -> None:
    """Writes config.json, log.txt, metrics.json, report.md and the plots."""
    write_json(folder / "config.json", _config_json(request, result, config_sha256))
    write_json(folder / "metrics.json", [figures.full_row() for figures in result.figures])
    write_log(folder / "log.txt", result.rows, result.notes)
    sections = [_section(folder, figures, judged) for figures, judged in _by_file(result)]
    notes = "".join(f"- {note}\n" for note in result.notes) or "- none\n"
    text = f"# Evaluation\n\n{_LEGEND}\n\n## Notes\n\n{notes}\n{''.join(sections)}"
    (folder / "report.md").write_text(text, encoding="utf-8")


def _cells(figures: Figures) -> list[str]:
    """One detector's figures as text, in the order of the report's columns."""
    return [
        figures.detector,
        f"{figures.n_pos} / {figures.n_neg}",
        figure_text(figures.auroc, figures.auroc_ci),
        figure_text(figures.length_matched_auroc),
        figure_text(figures.auprc, figures.auprc_ci),
        figure_text(figures.recall_at_1pct_fpr, figures.recall_at_1pct_fpr_ci),
        figure_text(figures.recall_at_01pct_fpr),
        figure_text(figures.pair_win_rate, figures.pair_win_rate_ci),
        figure_text(figures.fpr_at_shipped_threshold, figures.fpr_ci, places=4),
    ]


def _section(folder: Path, figures: list[Figures], judged: list[DetectorScores]) -> str:
    first = figures[0]
    name = f"{first.set_id}-{Path(first.file).stem}"
    plots = []
    if write_roc(folder / f"roc-{name}", judged):
        plots.append(f"![ROC curves](roc-{name}.png)")
    for done in judged:
        if done.detector == SHIPPED:
            write_histogram(folder / f"scores-{name}", done)
            plots.append(f"![Scores](scores-{name}.png)")
    rows = "\n".join(f"| {' | '.join(_cells(f))} |" for f in figures)
    details = "\n".join(f"- `{f.detector}`: {f.detail}" for f in figures)
    benign = f", {first.n_benign} benign rows" if first.n_benign else ""
    source = f" ({first.source})" if first.source else ""
    return (
        f"## {first.set_id} on {first.file}\n\nRows of {Path(first.file).name}{source}{benign}.\n\n{_HEAD}\n{rows}\n\n"
        f"{details}\n\n{' '.join(plots)}\n\n"
    )


def _by_file(result: EvaluationResult) -> Iterable[tuple[list[Figures], list[DetectorScores]]]:
    for figures in by_file(result.figures):
        key = figures[0].set_id, figures[0].file
        yield figures, [j for j in result.detector_scores if (j.file.set_id, j.file.file) == key]


def _config_json(request: EvaluationRequest, result: EvaluationResult, config_sha256: str) -> dict[str, Any]:
    files = {"data": request.data, "benign": request.benign, "train": request.train}
    return {
        **run_config(result.sets[0].shipped.reader, files, request.seed, request.limit, config_sha256),
        "peers": request.peers,
        "sets": {s.set.id: {"path": str(s.path), "version": s.set.version, "sha256": s.sha256} for s in result.sets},
    }
