"""Measures how throughput grows with sidecars in one consumer group, each with one thread.

python -m monitor.bench.growth --workers 1,2,3
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from monitor.assembly.artefacts import load_artefacts
from monitor.assembly.build import find_bundle
from monitor.bench.pipeline import KafkaPath
from monitor.bench.sidecar import sidecar_config
from monitor.bench.workloads import short_chats
from monitor.config.load import load_config
from monitor.config.sections import Config
from monitor.demo.broker import EmbeddedBroker
from monitor.demo.free_port import free_port
from monitor.demo.run import GROUP, PARTITIONS
from monitor.demo.sidecar_process import SidecarProcess
from monitor.demo.topics import DemoTopics
from monitor.machine import machine, usable_cores

PARTITIONS_OF_EVENTS = 6
"""Divisible by the numbers of workers, so that each has as many."""
_READY_TIMEOUT_S, _STOP_TIMEOUT_S = 300.0, 60.0
_WARM_UP = 32


@dataclass(frozen=True)
class Growth:
    """One number of workers."""

    workers: int
    events_per_s: float
    """Median of the rounds."""
    spread: float
    """(Slowest round - fastest) / median."""
    events_per_cpu_s: float
    """Events a second of CPU time of all workers. It does not fall if workers do not hinder each other."""
    load: float
    """Load average of the machine before the first round."""


def measure_growth(config: Config, workers: Sequence[int], rounds: int, events: int) -> list[Growth]:
    """Measures each number of workers with a broker of its own. Raises LatentwatchError if broker or sidecar fail."""
    bundle = find_bundle(config, load_artefacts(config), lambda _: None).folder
    return [_measure(config, bundle, count, rounds, events) for count in workers]


def _measure(config: Config, bundle: Path, workers: int, rounds: int, events: int) -> Growth:
    with _running(config, bundle, workers) as (path, pids):
        path.seconds(short_chats(_WARM_UP * workers, f"warm-up-{workers}"))
        load, before_s = os.getloadavg()[0], _cpu_s(pids)
        seconds = [path.seconds(short_chats(events, f"growth-{workers}-{n}")) for n in range(rounds)]
        cpu_s = _cpu_s(pids) - before_s
    median = float(np.median(seconds))
    return Growth(workers, events / median, (max(seconds) - min(seconds)) / median, rounds * events / cpu_s, load)


@contextmanager
def _running(config: Config, bundle: Path, workers: int) -> Iterator[tuple[KafkaPath, list[int]]]:
    """A broker with that many sidecars in one group, all of them ready."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="latentwatch-growth-")))
        broker = opened.enter_context(EmbeddedBroker())
        broker.create_topics({**PARTITIONS, "llm.events": PARTITIONS_OF_EVENTS})
        topics = opened.enter_context(DemoTopics(broker.bootstrap_servers, GROUP))
        sidecars = []
        for n in range(workers):
            own, port = folder / str(n), free_port()
            own.mkdir()
            served = sidecar_config(config, bundle, "int8", broker.bootstrap_servers, own, port)
            served["reader"]["threads"] = 1
            (own / "config.yaml").write_text(yaml.safe_dump(served, sort_keys=False), encoding="utf-8")
            sidecars.append(opened.enter_context(SidecarProcess(own / "config.yaml", port, own / "sidecar.log")))
        for sidecar in sidecars:
            sidecar.wait_ready(_READY_TIMEOUT_S)
        while any(sidecar.unready() for sidecar in sidecars):  # the last one to join makes the others wait again
            time.sleep(0.1)

        def check_alive() -> None:
            for sidecar in sidecars:
                sidecar.check_alive()

        yield KafkaPath(topics, check_alive), [sidecar.pid for sidecar in sidecars]
        for sidecar in sidecars:
            sidecar.stop(_STOP_TIMEOUT_S)


def _cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds of processes so far, by proc(5)."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Prints the measurements as a Markdown table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--workers", default="1,2,3")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--events", type=int, default=128, help="short chats of a round")
    given = options.parse_args()
    counts = [int(count) for count in given.workers.split(",")]
    rows = measure_growth(load_config(None, os.environ), counts, given.rounds, given.events)
    lines = [
        f"{machine()}, {usable_cores()} cores; {given.rounds} rounds of {given.events} short chats, "
        f"{PARTITIONS_OF_EVENTS} partitions",
        "",
        "| workers | events/s | spread | relative to one | events per CPU second | load before |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r.workers} | {r.events_per_s:.1f} | {r.spread:.0%} | {r.events_per_s / rows[0].events_per_s:.2f} "
        f"| {r.events_per_cpu_s:.1f} | {r.load:.1f} |"
        for r in rows
    ]
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()
