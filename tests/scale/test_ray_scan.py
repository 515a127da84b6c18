"""A distributed scan on a local Ray cluster: a row for each event, once, whatever happens to the workers.

Needs the extra `ray`, which is too large for the tests' own; `make ray-check` installs it and runs this.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.scale.part_scanner import PartResult
from monitor.scale.parts import find_parts
from monitor.scale.ray_scan import scan_with_ray
from monitor.scale.results_folder import ResultsFolder
from tests.scale.sample_events import results, write_jsonl, write_parquet
from tests.scale.slow_engine import make_no_engine, make_slow_engine

pytest.importorskip("ray", reason="needs the extra ray, which is over 200 MB: run `make ray-check`")
# Ray leaves sockets and processes to the garbage collector
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
ROWS = 600


@pytest.fixture(autouse=True)
def _own_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_worker_niceness", "0")  # Ray's default is 15, which a busy machine starves


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    write_parquet(folder / "a.parquet", ROWS, 200)
    write_jsonl(folder / "deep" / "b.jsonl", 200)
    with (folder / "deep" / "b.jsonl").open("a") as file:
        file.write("nonsense\n")
    return folder


def config(tmp_path: Path) -> Config:
    return Config.model_validate({"reader": {"model": str(tmp_path / "evaluated"), "threads": 1}})


def started(tmp_path: Path) -> list[tuple[int, str]]:
    log = tmp_path / "evaluated"
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(pid), name) for pid, name in (line.split() for line in lines)]


def test_a_killed_worker_leaves_neither_a_hole_nor_a_double(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    parts = find_parts(str(source))
    ResultsFolder(str(out)).prepare({}, parts)
    killed: list[int] = []
    killer = threading.Thread(target=lambda: killed.append(kill_in_the_middle(tmp_path)))
    killer.start()
    done = list(scan_with_ray(parts, config(tmp_path), str(out), make_slow_engine, workers=1))
    killer.join()

    evaluated = started(tmp_path)
    assert [pid for pid, _ in evaluated].count(killed[0]) < ROWS
    assert len({pid for pid, _ in evaluated}) == 2  # the killed one, and the one in its place
    assert Counter(name for _, name in evaluated).most_common(1)[0][1] == 2  # its part was begun again
    rows = results(out)
    assert Counter(row["event_id"] for row in rows if row["event_id"]) == Counter(
        [f"a-{n}" for n in range(ROWS)] + [f"b-{n}" for n in range(200)]
    )
    assert [row["row"] for row in rows if row["file"].endswith("a.parquet")] == list(range(1, ROWS + 1))
    assert all(bool(row["alerts"]) == (int(row["event_id"].split("-")[1]) % 3 == 0) for row in rows if row["event_id"])
    (bad,) = [row for row in rows if row["error"]]
    assert (bad["file"], bad["row"]) == (str(source / "deep" / "b.jsonl"), 201)
    assert {result.error for result in done} == {""}
    assert len(list(out.iterdir())) == len(parts) + 1  # what the scan was made with, and no unfinished file


def test_a_worker_that_cannot_load_its_reader_ends_the_scan_with_the_reason(source: Path, tmp_path: Path) -> None:
    scan = scan_with_ray(find_parts(str(source)), config(tmp_path), str(tmp_path), make_no_engine, workers=1)
    with pytest.raises(ConfigError, match=r"^a worker cannot start: reader.bundle: /none: no such folder$"):
        list(scan)


def kill_in_the_middle(tmp_path: Path) -> int:
    """Kills the worker that starts the 50th event."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        seen = started(tmp_path)
        if len(seen) > 50:
            os.kill(seen[50][0], signal.SIGKILL)
            return seen[50][0]
        time.sleep(0.01)
    return 0


def test_done_parts_are_not_scanned_again(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    parts = find_parts(str(source))
    folder = ResultsFolder(str(out))
    folder.prepare({}, parts)
    first, rest = parts[:1], parts[1:]
    list(scan_with_ray(first, config(tmp_path), str(out), make_slow_engine, workers=1))
    assert folder.prepare({}, parts) == {first[0].name}
    before = len(started(tmp_path))
    # as after a worker that died between its result and saying so: the part is asked for again
    counts: Iterator[PartResult] = scan_with_ray(parts, config(tmp_path), str(out), make_slow_engine, workers=1)
    assert sum(result.events for result in counts) == ROWS + 200 - before
    assert Counter(name for _, name in started(tmp_path)).most_common(1)[0][1] == 1
    assert {part.name for part in rest} < folder.prepare({}, parts)
