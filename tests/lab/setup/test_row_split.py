"""How rows are divided: no row twice, pairs whole, both labels on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.lab.data.rows import LabelledRow
from monitor.lab.setup.row_split import row_names, split_rows


def row(name: str, label: int, pair: str | None = None) -> LabelledRow:
    return LabelledRow.model_validate({"id": name, "label": label, "pair": pair, "response": name})


PAIRS = [row(f"p{n}-{label}", label, f"p{n}") for n in range(10) for label in (1, 0)]
SINGLE = [row(f"s{n}", int(n < 6)) for n in range(24)]
BENIGN = [row(f"b{n}", 0) for n in range(40)]
FILE = Path("rows.jsonl")


def test_halves_hold_whole_pairs_and_both_labels_in_the_same_share() -> None:
    split = split_rows({"bias": {FILE: [*PAIRS, *SINGLE]}}, BENIGN, seed=0)
    halves = [split.curate["bias"]["rows"], split.judge["bias"]["rows"]]
    assert [sum(r.label for r in half) for half in halves] == [8, 8]
    assert [len(half) for half in halves] == [22, 22]
    assert not {r.id for r in halves[0]} & {r.id for r in halves[1]}
    pairs = [{r.pair for r in half if r.pair is not None} for half in halves]
    assert not pairs[0] & pairs[1]


def test_benign_rows_go_to_three_parts() -> None:
    split = split_rows({}, BENIGN, seed=0)
    parts = (split.benign_curate, split.benign_calibrate, split.benign_judge)
    assert [len(part) for part in parts] == [10, 20, 10]
    assert sorted(r.id for part in parts for r in part) == sorted(r.id for r in BENIGN)


def test_the_seed_decides() -> None:
    first, again, other = (split_rows({}, BENIGN, seed).benign_judge for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/mine.jsonl", "b/theirs.csv.gz"], ["mine", "theirs"]),
        (["a/rows.jsonl", "b/rows.jsonl"], ["rows-1", "rows-2"]),
        ([".jsonl"], ["rows"]),
    ],
)
def test_names(paths: list[str], names: list[str]) -> None:
    assert list(row_names([Path(path) for path in paths]).values()) == names
