"""The result of `lab diff` as lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from monitor.lab.change_test import Change
from monitor.lab.diff.run import DiffResult

_HEAD = f"| Tuned model | Over | Set | Texts | Firing rate | q | Mean score | Effect size | q |\n|{'---|' * 9}"


def summary_lines(result: DiffResult) -> Iterator[str]:
    """A Markdown table of all sets, then for each tuned model what rose and what speaks against the SAE."""
    yield _HEAD
    for tuned in result.tuned:
        for over, change in tuned.changes():
            yield _line(tuned.name, over, change)
    yield ""
    for tuned in result.tuned:
        rising = tuned.rising(result.request.alpha)
        yield f"{tuned.name}: {'rose: ' + ', '.join(rising) if rising else 'no set rose by more than chance'}"
        for comparison in tuned.comparisons:
            for warning in comparison.warnings:
                yield f"{tuned.name}: warning, over {comparison.over}: {warning}"


def _line(name: str, over: str, change: Change) -> str:
    cells = (
        name,
        over,
        change.name,
        str(change.texts),
        f"{change.rate_before:.1%} to {change.rate_after:.1%}",
        f"{change.rate_q:.3g}",
        f"{change.mean_before:.4f} to {change.mean_after:.4f}",
        f"{change.effect:+.2f}",
        f"{change.q:.3g}",
    )
    return f"| {' | '.join(cells)} |"
