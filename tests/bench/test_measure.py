"""If a process dies, measuring continues without it and says so."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from monitor.bench.budget import Budget
from monitor.bench.ceilings import Rates
from monitor.bench.measure import BenchReader, measure
from monitor.bench.operations import Operations
from monitor.bench.progress import Progress
from monitor.bench.results import BenchReport, ReaderResult
from monitor.bench.sizes import QUICK, Sizes
from monitor.bench.tables import markdown
from monitor.bench.worker_process import WorkerProcess
from monitor.bench.workloads import Workload
from monitor.events.event import Event, Message, Origin
from monitor.tokens.tokeniser import EventTokeniser, Tokenised
from tests.bench.worker_objects import DyingReader

SIZES = dataclasses.replace(QUICK, repetitions=2, single_events=1)
OPERATIONS = Operations(weights=1e6, attention=0.0, windowed=(), sae=0.0)
EVENT = Event("e", (Message("user", "How?"),), "So.", Origin("test", 0, 0))
WORKLOADS = [Workload("short", (EVENT,)), Workload("long", (EVENT, EVENT))]
MACHINE: dict[str, Any] = {
    **dict.fromkeys(("cpu", "mode", "started", "latentwatch", "onnxruntime", "torch"), "x"),
    "cores": 2,
    "load_before": 0.5,
}
DEATH = "its process ended with exit code 7"


class FiveTokens(EventTokeniser):
    """Stands in for a model's tokeniser."""

    def __init__(self) -> None:
        pass

    def tokenise(self, events: Sequence[Event]) -> list[Tokenised]:
        none = np.zeros(5, np.int32)
        return [Tokenised(event, np.arange(5, dtype=np.int32), none, none, (), (), False) for event in events]

    def shared_prefixes(self) -> list[Any]:
        return []


@pytest.fixture
def sound() -> Iterator[WorkerProcess]:
    with WorkerProcess(DyingReader) as worker:
        yield worker


def reader(name: str) -> BenchReader:
    return BenchReader(name, DyingReader, (), operations=OPERATIONS, precisions=("fp32", "fp32"))


def measured(
    running: list[tuple[BenchReader, WorkerProcess]],
    rates: Rates,
    report: BenchReport,
    seconds: float = math.inf,
    sizes: Sizes = SIZES,
    clock: Callable[[], float] = lambda: 0.0,
    workloads: Sequence[Workload] = WORKLOADS,
) -> list[ReaderResult]:
    return measure(
        running,
        workloads,
        FiveTokens(),
        sizes,
        longest_s=60.0,
        budget=Budget(seconds, {"short": 1, "long": 1}, clock),
        rates=rates,
        report=report,
        progress=Progress(lambda *_: None, 2),
    )


@pytest.mark.parametrize(
    ("method", "call", "measured_on", "skipped"),
    [
        ("peak", 1, [], [f"frail: {DEATH}"]),
        ("run", 1, [], [f"frail on short: {DEATH}", f"frail on long: {DEATH}"]),
        ("padding", 2, ["short"], [f"frail on long: {DEATH}"]),
        ("run", 4, [], [f"frail on short: {DEATH}", f"frail on long: {DEATH}"]),
        ("run", 8, ["short"], [f"frail on long: {DEATH}"]),
    ],
)
def test_only_the_figures_of_a_dead_reader_are_missing(
    method: str, call: int, measured_on: list[str], skipped: list[str], sound: WorkerProcess
) -> None:
    report = BenchReport({})
    with WorkerProcess(DyingReader, method, call) as frail:
        running = [(reader("frail"), frail), (reader("sound"), sound)]
        rows = measured(running, Rates(sound, report.skipped), report)
    assert [(row.workload, row.reader) for row in rows if row.reader == "sound"] == [
        ("short", "sound"),
        ("long", "sound"),
    ]
    assert [row.workload for row in rows if row.reader == "frail"] == measured_on
    assert report.skipped == skipped
    assert report.shortened == []
    for row in rows:  # 5 tokens of 10^6 operations an event, at 2 * 10^9 a second
        assert row.ceiling_fraction == pytest.approx(row.events * 5e6 / 2e9 / 0.5)


@pytest.mark.parametrize(("call", "known"), [(1, {}), (2, {"fp32": 2e9})])
def test_only_ceilings_are_missing_if_their_process_dies(
    call: int, known: dict[str, float], sound: WorkerProcess
) -> None:
    report = BenchReport({"ceilings_gops": {}})
    with WorkerProcess(DyingReader, "rates", call) as frail:
        rates = Rates(frail, report.skipped)
        running = [(reader("sound"), sound)]
        for _ in range(2):
            rates.measure()
        rows = measured(running, rates, report)
    assert rates.known == known
    assert report.skipped == [f"ceilings: {DEATH}"]
    assert [row.workload for row in rows] == ["short", "long"]
    assert [row.ceiling_fraction is None for row in rows] == [not known] * 2


def test_a_table_without_ceilings_says_so() -> None:
    report = BenchReport({**MACHINE, "ceilings_gops": {}})
    report.skipped.append(f"ceilings: {DEATH}")
    page = markdown(report, "latentwatch bench")
    assert "Ceilings in 10^9 operations/s: not measured." in page
    assert f"- ceilings: {DEATH}" in page


# DyingReader says that every run takes half a second, however many events it reads
SLOW = dataclasses.replace(QUICK, repetitions=3, single_events=2)


def test_a_slice_that_is_too_short_cuts_events_and_says_so(sound: WorkerProcess) -> None:
    report = BenchReport({"ceilings_gops": {}})
    longer = [WORKLOADS[0], Workload("long", (EVENT,) * 4)]
    running = [(reader("sound"), sound)]
    rows = measured(running, Rates(sound, report.skipped), report, 1.7, SLOW, workloads=longer)
    # "long" has four events of half a second, and 1.02 s of its slice of 1.7 s are for a repetition
    assert [(row.workload, row.events) for row in rows] == [("short", 1), ("long", 2)]
    assert report.shortened == ["sound on long: 1 of 2 single events, 2 of 4 events"]
    assert report.skipped == []
    page = markdown(BenchReport({**MACHINE, "ceilings_gops": {}}, shortened=report.shortened), "latentwatch bench")
    assert "## Cut short\n\n- sound on long: 1 of 2 single events, 2 of 4 events\n" in page


def test_repetitions_end_with_the_slice(sound: WorkerProcess) -> None:
    report = BenchReport({})
    many = dataclasses.replace(SLOW, repetitions=100)
    ticks = itertools.count(step=0.05)
    rows = measured([(reader("sound"), sound)], Rates(sound, []), report, 8.0, many, lambda: next(ticks))
    assert all(1 <= row.repetitions < 100 for row in rows)
    assert len(report.shortened) == len(rows) == 2
    assert all(" of 100 repetitions" in line for line in report.shortened)


def test_a_reader_without_time_for_enough_events_is_left_out(sound: WorkerProcess) -> None:
    report = BenchReport({**MACHINE, "ceilings_gops": {}})
    longest = [WORKLOADS[0], Workload("long", (EVENT,) * 40)]
    # half a second for a single event, so five for ten of "long", which are the least
    running = [(reader("sound"), sound)]
    rows = measured(running, Rates(sound, []), report, 1.9, SLOW, workloads=longest)
    assert [(row.workload, row.reader) for row in rows] == [("short", "sound")]
    assert report.left_out == [("long", "sound")]
    assert report.skipped == ["sound on long: left out: only 10 of its 40 events would take 5 s"]
    report.results, report.left_out = rows, [("short", "tortoise")]
    assert "| tortoise | left out |  |  |  |  |  |\n" in markdown(report, "latentwatch bench")
