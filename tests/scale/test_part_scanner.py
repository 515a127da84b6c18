"""PartScanner: a row for each event and for each record that can't be read, and nothing of a part that fails."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from monitor.alerts.alert import Alert
from monitor.config.sections import Config
from monitor.scale.part_scanner import PartScanner
from monitor.scale.parts import find_parts
from monitor.scale.results_folder import ResultsFolder
from tests.scale.sample_events import results, write_jsonl, write_parquet
from tests.test_pipeline import SmallEngine


class CountingEngine(SmallEngine):
    """Counts how often it is asked."""

    calls = 0

    def evaluate(self, *arguments):  # type: ignore[no-untyped-def]
        self.calls += 1
        return super().evaluate(*arguments)


@pytest.fixture
def engine() -> CountingEngine:
    return CountingEngine()


@pytest.fixture
def scanner(tmp_path: Path, engine: CountingEngine) -> PartScanner:
    out = tmp_path / "out"
    ResultsFolder(str(out)).prepare({}, [])
    return PartScanner(Config(), str(out), lambda _: engine)  # type: ignore[arg-type,return-value]


def test_every_event_has_a_row_and_every_bad_record_too(tmp_path: Path, scanner: PartScanner) -> None:
    source = tmp_path / "in" / "a.jsonl"
    write_jsonl(source, 4)
    with source.open("a") as file:
        file.write("nonsense\n")
    (part,) = find_parts(str(source))
    result = scanner.scan(part)
    assert (result.events, result.tokens, result.alerts, result.bad, result.error) == (4, 12, 2, 1, "")
    rows = results(tmp_path / "out")
    assert [(row["file"], row["row"], row["event_id"], row["tokens"]) for row in rows] == [
        *[(str(source), n + 1, f"a-{n}", 3) for n in range(4)],
        (str(source), 5, None, None),
    ]
    assert [Alert.from_json(alert).event.id for row in rows for alert in row["alerts"]] == ["a-0", "a-3"]
    assert all(len(row["sets"]) == len(row["alerts"]) for row in rows)
    assert [bool(row["error"]) for row in rows] == [False] * 4 + [True]


def test_a_row_group_counts_its_rows_in_the_whole_file(tmp_path: Path, scanner: PartScanner) -> None:
    write_parquet(tmp_path / "in" / "a.parquet", 5, 2)
    parts = find_parts(str(tmp_path / "in"))
    assert [scanner.scan(part).events for part in parts] == [2, 2, 1]
    assert [(row["row"], row["event_id"]) for row in results(tmp_path / "out")] == [(n + 1, f"a-{n}") for n in range(5)]


def test_a_part_that_is_done_is_not_read_again(tmp_path: Path, scanner: PartScanner, engine: CountingEngine) -> None:
    write_jsonl(tmp_path / "in" / "a.jsonl", 4)
    (part,) = find_parts(str(tmp_path / "in"))
    scanner.scan(part)
    before = engine.calls
    assert scanner.scan(part).error == ""
    assert engine.calls == before


def test_a_part_that_fails_has_no_results(tmp_path: Path, scanner: PartScanner) -> None:
    source = tmp_path / "in" / "a.jsonl.gz"
    source.parent.mkdir()
    source.write_bytes(gzip.compress(b'{"id": "a", "response": "an alert"}\n' * 1_000)[:-20])
    (part,) = find_parts(str(source))
    assert "damaged" in scanner.scan(part).error
    source.unlink()
    assert "cannot be read" in scanner.scan(part).error
    assert results(tmp_path / "out") == []
