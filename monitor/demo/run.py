"""The demo: a broker, a sidecar and labelled events on this machine, from the first event to the review page."""

from __future__ import annotations

import signal
import socket
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
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from monitor.alerts.alert import Alert
from monitor.demo.sample_events import DemoEvent, demo_events
from monitor.demo.sidecar_process import SidecarProcess
from monitor.demo.topics import DemoTopics
from monitor.errors import LatentwatchError, Permanent
from monitor.report.alert_card import ratio
from monitor.report.report import write_report
from monitor.report.summary import Summary, summarize
from monitor.report.terminal import alert_table, summary_tables
from monitor.report.visible_text import visible

PARTITIONS = {"llm.events": 4, "llm.alerts": 4, "llm.events.dead-letter": 1}
GROUP = "latentwatch-demo"
TOKENS_SAMPLE = "latentwatch_tokens_total"
_SHOWN_PER_CATEGORY = 3
_STOP_TIMEOUT_S = 60.0


class Broker(Protocol):
    """A running broker that belongs to the demo."""

    @property
    def bootstrap_servers(self) -> str:
        """host:port."""

    def create_topics(self, partitions: Mapping[str, int]) -> None:
        """Creates topics, by name with their number of partitions."""


@dataclass(frozen=True)
class DemoTimeouts:
    """How long the demo waits, in seconds."""

    ready: float = 900.0
    """For the sidecar: the first start converts and compiles the model."""
    stall: float = 180.0
    """For the next commit."""


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

    Returns 0 when every event was read and committed, every alert is both in the file and on the topic, and the
    sidecar ended well; 1 otherwise, having said why; 130 when interrupted. No process of it is left behind.
    """
    files = _Files(out_dir.resolve())
    try:
        files.prepare()
        with _sigterm_interrupts(), broker as running:
            run = _Run(files, console, running, events or demo_events(), timeouts or DemoTimeouts())
            problems = run.go(sidecar_command)
    except KeyboardInterrupt:
        console.print("Interrupted; everything that the demo started has been stopped.", style="yellow")
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


@dataclass(frozen=True)
class _Files:
    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def log(self) -> Path:
        return self.folder / "sidecar.log"

    @property
    def alerts(self) -> Path:
        return self.folder / "alerts.jsonl"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    def prepare(self) -> None:
        """Makes the folder and removes what an earlier demo left: alerts are appended."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (self.config, self.log, self.alerts, self.report):
            path.unlink(missing_ok=True)

    def log_tail(self, lines: int = 20) -> str:
        """The end of what the sidecar said."""
        if not self.log.is_file():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").rstrip().split("\n")[-lines:])


class _Run:
    """One demo, from a running broker to the findings."""

    def __init__(
        self, files: _Files, console: Console, broker: Broker, events: Sequence[DemoEvent], timeouts: DemoTimeouts
    ) -> None:
        self._files = files
        self._console = console
        self._broker = broker
        self._events = events
        self._timeouts = timeouts

    def go(self, command: Sequence[str]) -> list[str]:
        """Everything; returns what went wrong."""
        self._broker.create_topics(PARTITIONS)
        port = _free_port()
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
            # again after the end: this is what a restarted sidecar would go on from
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
        self._show(alerts, summary)
        return _problems(summary, code, {a.id for a in alerts}, {a.id for a in delivered})

    def _wait_ready(self, sidecar: SidecarProcess) -> None:
        started = time.monotonic()
        message = "Starting the sidecar (the very first start compiles the model, up to a minute)..."
        with self._console.status(message) as status:
            sidecar.wait_ready(
                self._timeouts.ready, lambda: status.update(f"{message} {time.monotonic() - started:.0f} s")
            )
        self._console.print(f"Sidecar ready after {time.monotonic() - started:.1f} s.", highlight=False)

    def _follow(self, topics: DemoTopics, sidecar: SidecarProcess, published: Mapping[int, int]) -> int:
        """Waits until every published event is committed; returns how many are."""
        total = sum(published.values())
        done, moved = 0, time.monotonic()
        columns = (TextColumn("Reading events"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task("events", total=total)
            while done < total:
                time.sleep(0.1)
                now = topics.committed("llm.events", published)
                if now > done:
                    done, moved = now, time.monotonic()
                    progress.update(task, completed=done)
                sidecar.check_alive()
                if time.monotonic() - moved > self._timeouts.stall:
                    raise Permanent(f"{done} of {total} events committed, then none for {self._timeouts.stall:.0f} s")
        return done

    def _show(self, alerts: Sequence[Alert], summary: Summary) -> None:
        console = self._console
        console.print(alert_table(strongest_per_category(alerts, _SHOWN_PER_CATEGORY)))
        console.print("A feature that is active is not behaviour, and mention is not use: read the text.", style="dim")
        console.print(summary_tables(summary))
        for name, path in (("Alerts", self._files.alerts), ("Report", self._files.report)):
            # soft_wrap: a path that is broken over lines cannot be clicked or copied
            console.print(Text(f"{name}: {path}"), soft_wrap=True)


def demo_config(bootstrap_servers: str, alerts: Path, port: int) -> dict[str, object]:
    """The sidecar's config file: short session timeouts, for the group of one forms at half of them."""
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


def strongest_per_category(alerts: Sequence[Alert], count: int) -> list[Alert]:
    """The `count` highest alerts of each category, by category."""
    shown: dict[str, list[Alert]] = {}
    for alert in sorted(alerts, key=lambda a: (a.set.category, -ratio(a), a.id)):
        category = shown.setdefault(alert.set.category, [])
        if len(category) < count:
            category.append(alert)
    return [alert for category in shown.values() for alert in category]


def _alerts(lines: Iterable[bytes], where: str) -> list[Alert]:
    """One alert for each id: after a failed flush a destination may hold an alert twice."""
    try:
        alerts = [Alert.from_json(line) for line in lines if line.strip()]
    except ValidationError as e:
        raise Permanent(f"{where} holds something that is not an alert: {e.errors()[0]['msg']}") from None
    return list({alert.id: alert for alert in alerts}.values())


def _problems(summary: Summary, exit_code: int, in_file: set[str], on_topic: set[str]) -> list[str]:
    problems = []
    if summary.lag:
        problems.append(f"lag {summary.lag}: published events that are not committed")
    if in_file != on_topic:
        problems.append(
            f"alerts differ: {len(in_file - on_topic)} only in the file, {len(on_topic - in_file)} only on the topic"
        )
    if exit_code != 0:
        problems.append(f"the sidecar ended with exit code {exit_code}")
    return problems


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM as Ctrl-C, so that a stopped demo cleans up as well."""
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
