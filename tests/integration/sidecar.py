"""Sidecar: the real `python -m monitor run` as a child process, its config file, and what it says on its port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from prometheus_client.parser import text_string_to_metric_families

from monitor.alerts.alert import Alert
from monitor.config.load import load_config
from monitor.demo.sidecar_process import SidecarProcess
from monitor.sets.load import load_feature_sets
from tests.brokers import AnyBroker, free_ports
from tests.integration.stream import Stream

READY_S = 240.0
"""The very first start on a machine converts the model."""
WORK_S = 240.0

EVENTS_DONE = "messaging_process_duration_seconds_count"
CONSUMED = "messaging_client_consumed_messages_total"
DEAD_LETTERED = "latentwatch_events_dead_lettered_total"


def every_event_alerts() -> dict[str, Any]:
    """feature_sets.overrides that make every set of the default config fire on every event it judges."""
    wanted = load_config(None, os.environ).feature_sets
    overrides: dict[str, Any] = {}
    for loaded in load_feature_sets(wanted.paths, wanted.only):
        if loaded.set.condition is None:
            overrides[loaded.set.id] = {"threshold": 0.0, "languages": "any"}
        else:
            overrides[loaded.set.id] = {"features": {i: {"threshold": 1e-3} for i in loaded.set.indices()}}
    return overrides


def set_count() -> int:
    """How many sets the default config uses."""
    wanted = load_config(None, os.environ).feature_sets
    return len(load_feature_sets(wanted.paths, wanted.only))


def write_config(folder: Path, broker: AnyBroker, stream: Stream, changes: Mapping[str, Any] | None = None) -> Path:
    """A config file in `folder`; `changes` are laid over it, section by section; None takes a key out."""
    config: dict[str, Any] = {
        "kafka": {"bootstrap_servers": broker.bootstrap_servers, "request_timeout_ms": 5_000},
        "source": {
            "topic": stream.events,
            "group_id": stream.group,
            "dead_letter_topic": stream.dead_letters,
            "session_timeout_ms": 4_000,
            "heartbeat_interval_ms": 500,
            "poll_timeout_ms": 200,
        },
        "feature_sets": {"overrides": every_event_alerts()},
        "sinks": {
            "kafka": {"topic": stream.alerts},
            "jsonl": {"enabled": True, "path": str(folder / "alerts.jsonl")},
        },
        "health": {"host": "127.0.0.1", "port": free_ports(1)[0]},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(_laid_over(config, changes or {}), sort_keys=False))
    return path


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        merged[key] = _laid_over(merged[key], value) if isinstance(value, Mapping) and key in merged else value
    return {key: value for key, value in merged.items() if value is not None}


@dataclass(frozen=True)
class Sample:
    """One sample of /metrics."""

    name: str
    labels: Mapping[str, str]
    value: float


class Sidecar(SidecarProcess):
    """A context manager around one child that reads the config file; killed at the latest when the block is left.

    `command` starts another one than this Python's; it sees the config file at `seen_at`.
    """

    def __init__(self, config: Path, command: Sequence[str] = (), seen_at: Path | None = None) -> None:
        health = yaml.safe_load(config.read_text())["health"]
        self.log = config.parent / "sidecar.log"
        super().__init__(seen_at or config, health["port"], self.log, command)

    def __enter__(self) -> Sidecar:
        super().__enter__()
        return self

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; (0, "") while nobody answers."""
        status, body = self._get(path)
        return status, body.decode()

    def samples(self, name: str) -> list[Sample]:
        """All samples of that name on /metrics."""
        _, body = self.get("/metrics")
        families = text_string_to_metric_families(body)
        return [Sample(s.name, s.labels, s.value) for f in families for s in f.samples if s.name == name]

    def values(self, name: str) -> dict[str, float]:
        """The samples of that name by the value of their only label."""
        return {next(iter(s.labels.values())): s.value for s in self.samples(name)}

    def process(self) -> psutil.Process:
        """The child, as the system sees it."""
        return psutil.Process(self._running().pid)

    def rss_mb(self) -> float:
        """Resident memory of the child, in MB."""
        return float(self.process().memory_info().rss) / 1e6

    def cpu_s(self) -> float:
        """Seconds of CPU that the child has taken so far."""
        times = self.process().cpu_times()
        return float(times.user + times.system)

    def kill(self) -> None:
        """Ends the child as the kernel would."""
        self._running().send_signal(signal.SIGKILL)
        self._running().wait()

    def terminate(self) -> None:
        """Sends SIGTERM and does not wait."""
        self._running().send_signal(signal.SIGTERM)

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = WORK_S) -> None:
        """Waits for a condition while the child lives; fails with the end of its log."""
        give_up_at = time.monotonic() + timeout_s
        while not condition():
            self.check_alive()
            assert time.monotonic() < give_up_at, f"not within {timeout_s:.0f} s: {what}\n{self.tail()}"
            time.sleep(0.05)

    def tail(self) -> str:
        """The end of what the child said."""
        return self.log.read_text(errors="replace")[-3_000:]


def alerts_in(path: Path) -> list[Alert]:
    """The alerts of a file; none where there is no file yet."""
    return [Alert.from_json(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def latentwatch(*args: str, timeout_s: float = READY_S, **env: str) -> subprocess.CompletedProcess[str]:
    """Any other command as a child process."""
    return subprocess.run(
        [sys.executable, "-m", "monitor", *args],
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def write_jsonl(path: Path, values: Sequence[Mapping[str, Any]]) -> Path:
    """A file of events for `latentwatch scan`."""
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path
