"""RowSplit: a user's rows divided between curating, calibrating and judging."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.lab.data.rows import LabelledRow


@dataclass(frozen=True)
class RowSplit:
    """No row is in two parts, and rows of one pair stay together.

    Labelled rows by category and name of the file: one half finds the features, the other judges the set. A quarter of
    the benign rows helps to find them, a half sets thresholds, and a quarter measures the false positives.
    """

    curate: Mapping[str, Mapping[str, Sequence[LabelledRow]]]
    judge: Mapping[str, Mapping[str, Sequence[LabelledRow]]]
    benign_curate: Sequence[LabelledRow]
    benign_calibrate: Sequence[LabelledRow]
    benign_judge: Sequence[LabelledRow]


def split_rows(
    data: Mapping[str, Mapping[Path, Sequence[LabelledRow]]], benign: Sequence[LabelledRow], seed: int
) -> RowSplit:
    """Draws the parts by `seed`."""
    curate: dict[str, dict[str, Sequence[LabelledRow]]] = {}
    judge: dict[str, dict[str, Sequence[LabelledRow]]] = {}
    for category, files in data.items():
        curate[category], judge[category] = {}, {}
        names = row_names(list(files))
        for path, rows in files.items():
            curate[category][names[path]], judge[category][names[path]] = _parts(rows, (1, 1), seed)
    return RowSplit(curate, judge, *_parts(benign, (1, 2, 1), seed))


def row_names(paths: Sequence[Path]) -> dict[Path, str]:
    """A name for the rows of each file: its own without the ending, with a number if another file has it, too."""
    stems = [path.name.split(".")[0] or "rows" for path in paths]
    return {
        path: stem if stems.count(stem) == 1 else f"{stem}-{n}"
        for n, (path, stem) in enumerate(zip(paths, stems, strict=True), start=1)
    }


def _parts(rows: Sequence[LabelledRow], shares: Sequence[int], seed: int) -> tuple[list[LabelledRow], ...]:
    """`rows`, in their order, in parts of about these shares. Each part has about the same share of either label."""
    labels: dict[str, set[int]] = {}
    for row in rows:
        labels.setdefault(row.cluster, set()).add(row.label)
    part: dict[str, int] = {}
    total = sum(shares)
    for kind in ({0}, {1}, {0, 1}):
        clusters = sorted(cluster for cluster, found in labels.items() if found == kind)
        random.Random(seed).shuffle(clusters)  # noqa: S311 - a sample, not a secret
        ends = [round(len(clusters) * sum(shares[: n + 1]) / total) for n in range(len(shares))]
        part |= {cluster: bisect_right(ends, place) for place, cluster in enumerate(clusters)}
    return tuple([row for row in rows if part[row.cluster] == n] for n in range(len(shares)))
