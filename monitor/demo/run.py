"""The demo: a broker, a sidecar and labelled events on this machine, from the first event to the report."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from monitor.alerts.alert import Alert
from monitor.demo.files import DemoFiles
from monitor.demo.free_port import free_port
from monitor.demo.progress import ProgressLine
from monitor.demo.results import print_results
from monitor.demo.sample_events import DemoEvent, demo_events
from monitor.demo.sidecar_process import SidecarProcess
from monitor.demo.topics import DemoTopics
from monitor.errors import LatentwatchError, Permanent
from monitor.report.report import write_report
from monitor.report.summary import Summary, summarize
from monitor.report.visible_text import visible

PARTITIONS = {"llm.events": 4, "llm.alerts": 4, "llm.events.dead-letter": 1}
GROUP = "latentwatch-demo"
TOKENS_SAMPLE = "latentwatch_tokens_total"
_STOP_TIMEOUT_S = 60.0
_READING_EVERY_S = 30.0


class Broker(Protocol):
    """The demo's own running broker."""

    @property
    def bootstrap_servers(self) -> str:
        """host:port."""

    def create_topics(self, partitions: Mapping[str, int]) -> None:
        """Creates topics; `partitions` is the number of partitions by topic name."""


@dataclass(frozen=True)
class DemoTimeouts:
    """How long the demo waits, in seconds."""

    ready: float = 900.0
    """Until the sidecar is ready: the first start converts and compiles the model."""
    stall: float = 180.0
    """Until the next commit."""


def run_demo(
    out_dir: Path,
    console: Console,
    broker: AbstractContextManager[Broker],
    *,
    events: Sequence[DemoEvent] | None = None,
    sidecar_command: Sequence[str] = (),
    timeouts: DemoTimeouts | None = None,
) -> int:
    """Runs everything and leaves config.yaml, sidecar.log, alerts.jsonl and report.html in `out_dir`.

    Returns 0 if every event was read and committed, every alert is both in the file and on the topic, and the
    sidecar exited with 0; 1 if not, after printing why; 130 if interrupted. It leaves no process behind.
    """
    files = DemoFiles(out_dir.resolve())
    try:
        files.prepare()
        with sigterm_interrupts(), broker as running:
            run = _Run(files, console, running, events or demo_events(), timeouts or DemoTimeouts())
            problems = run.go(sidecar_command)
    except KeyboardInterrupt:
        console.print("Interrupted. The demo stopped everything that it had started.", style="yellow")
        return 130
    except (LatentwatchError, OSError) as e:
        problems = [str(e)]
    if not problems:
        return 0
    for problem in problems:
        console.print(Text(f"Failed: {visible(problem)}", style="bold red"))
    tail = files.log_tail()
    if tail:
        console.print(Text(f"The end of {files.log}:", style="bold"))
        console.print(Text(visible(tail), style="dim"))
    return 1


class _Run:
    """One demo, from a running broker to the results."""

    def __init__(
        self, files: DemoFiles, console: Console, broker: Broker, events: Sequence[DemoEvent], timeouts: DemoTimeouts
    ) -> None:
        self._files = files
        self._console = console
        self._broker = broker
        self._events = events
        self._timeouts = timeouts

    def go(self, command: Sequence[str]) -> list[str]:
        """Runs everything and returns what went wrong."""
        self._broker.create_topics(PARTITIONS)
        port = free_port()
        config = demo_config(self._broker.bootstrap_servers, self._files.alerts, port)
        self._files.config.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        with (
            DemoTopics(self._broker.bootstrap_servers, GROUP) as topics,
            SidecarProcess(self._files.config, port, self._files.log, command) as sidecar,
        ):
            self._wait_ready(sidecar)
            started = time.monotonic()
            published = topics.publish("llm.events", [(e.id, e.value) for e in self._events])
            committed = self._follow(topics, sidecar, published)
            seconds = time.monotonic() - started
            tokens = sidecar.metric(TOKENS_SAMPLE)
            code = sidecar.stop(_STOP_TIMEOUT_S)
            # asked again after the sidecar stopped: a restarted one would continue from here
            lag = len(self._events) - topics.committed("llm.events", published)
            delivered = _alerts(topics.read("llm.alerts", PARTITIONS["llm.alerts"]), "llm.alerts")
            bad_events = len(topics.read("llm.events.dead-letter", PARTITIONS["llm.events.dead-letter"]))
        path = self._files.alerts
        alerts = _alerts(path.read_bytes().split(b"\n") if path.is_file() else [], str(path))
        summary = summarize(
            alerts,
            events=committed,
            bad_events=bad_events,
            tokens=None if tokens is None else round(tokens),
            seconds=seconds,
            lag=lag,
            labels={e.id: e.label for e in self._events},
        )
        write_report(self._files.report, alerts, summary)
        print_results(self._console, alerts, summary, self._files)
        return _problems(summary, code, {a.id for a in alerts}, {a.id for a in delivered})

    def _wait_ready(self, sidecar: SidecarProcess) -> None:
        self._console.print("Starting the sidecar; its first start compiles the model (a minute or more).")
        with ProgressLine(self._console) as progress:
            sidecar.wait_ready(
                self._timeouts.ready,
                lambda: progress.update(self._files.compile_step() or "loading the model and the feature sets"),
            )
        self._console.print(f"Sidecar ready after {progress.seconds:.1f} s.", highlight=False)

    def _follow(self, topics: DemoTopics, sidecar: SidecarProcess, published: Mapping[int, int]) -> int:
        """Waits until every published event is committed; returns how many are."""
        total = sum(published.values())
        done, moved = 0, time.monotonic()
        with ProgressLine(self._console, _READING_EVERY_S) as progress:
            while done < total:
                time.sleep(0.1)
                now = topics.committed("llm.events", published)
                if now > done:
                    done, moved = now, time.monotonic()
                progress.update("events read", f"{done} of {total}")
                sidecar.check_alive()
                if time.monotonic() - moved > self._timeouts.stall:
                    raise Permanent(f"{done} of {total} events committed, then none for {self._timeouts.stall:.0f} s")
        return done


def demo_config(bootstrap_servers: str, alerts: Path, port: int) -> dict[str, object]:
    """The sidecar's config. Its session timeout is short because a group of one member forms after half of it."""
    return {
        "kafka": {"bootstrap_servers": bootstrap_servers},
        "source": {
            "topic": "llm.events",
            "group_id": GROUP,
            "dead_letter_topic": "llm.events.dead-letter",
            "session_timeout_ms": 6_000,
            "heartbeat_interval_ms": 1_000,
        },
        "alerts": {"capture_content": True},
        "sinks": {
            "kafka": {"enabled": True, "topic": "llm.alerts"},
            "jsonl": {"enabled": True, "path": str(alerts)},
        },
        "health": {"host": "127.0.0.1", "port": port},
    }


def _alerts(lines: Iterable[bytes], where: str) -> list[Alert]:
    """Each alert once: after a failed flush the file or topic may hold an alert twice."""
    try:
        alerts = [Alert.from_json(line) for line in lines if line.strip()]
    except ValidationError as e:
        raise Permanent(f"{where} holds something that is not an alert: {e.errors()[0]['msg']}") from None
    return list({alert.id: alert for alert in alerts}.values())


def _problems(summary: Summary, exit_code: int, in_file: set[str], on_topic: set[str]) -> list[str]:
    problems = []
    if summary.lag:
        problems.append(f"{summary.lag} published events were not committed")
    if in_file != on_topic:
        problems.append(
            f"alerts differ: {len(in_file - on_topic)} only in the file, {len(on_topic - in_file)} only on the topic"
        )
    if exit_code != 0:
        problems.append(f"the sidecar exited with code {exit_code}")
    return problems


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Treats SIGTERM like Ctrl-C, so that what a process started is stopped too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
