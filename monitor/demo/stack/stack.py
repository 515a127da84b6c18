"""Stack: broker, sidecar, Prometheus, Alertmanager and Collector on free loopback ports, as one context manager."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import yaml

from monitor.demo.child_process import ChildProcess
from monitor.demo.files import DemoFiles
from monitor.demo.free_port import free_port
from monitor.demo.run import GROUP, PARTITIONS, Broker, demo_config
from monitor.demo.sidecar_process import SidecarProcess
from monitor.demo.stack.phoenix import LISTENS, PROJECT, Phoenix
from monitor.demo.stack.programs import ALERTMANAGER, COLLECTOR, PHOENIX, PROMETHEUS
from monitor.demo.stack.prometheus import Alertmanager, Prometheus
from monitor.demo.stack.review_page import MISSING as REVIEW_MISSING
from monitor.demo.stack.review_page import ReviewPage
from monitor.demo.stack.traffic import SampleTraffic
from monitor.demo.topics import DemoTopics
from monitor.errors import ConfigError, Permanent

_Child = TypeVar("_Child", bound=ChildProcess)

READY_S = 900.0
"""Until the sidecar is ready: the first start converts and compiles the model."""
_PROGRAM_READY_S = 180.0
_TENANT_LABEL = {"tenant": "event.attributes.tenant"}
_PROJECT = {"resource_attributes": {"openinference.project.name": PROJECT}}  # Phoenix groups spans by it


@dataclass(frozen=True)
class StackFiles:
    """What the stack runs with, and where it writes."""

    deploy: Path
    """The folder deploy of the repository."""
    out: Path
    """Configs, logs, alerts and Prometheus's data go here."""
    rules: Path | None = None
    """Alert rules; default: those of the chart."""
    sidecar: Mapping[str, Any] = field(default_factory=dict)
    """Sections of the sidecar's config that replace the demo's."""
    otlp: str | None = None
    """Base URL of a running OTLP receiver; the Collector is then not started."""

    command: Sequence[str] = ()
    """What runs as the sidecar; default: `latentwatch run`."""
    phoenix: bool = False
    """Whether Phoenix shows the spans."""

    @property
    def examples(self) -> Path:
        """The example configurations."""
        return self.deploy / "observability"

    @property
    def rules_file(self) -> Path:
        """The alert rules that Prometheus runs."""
        return self.rules or self.deploy / "helm/latentwatch/rules/latentwatch.yaml"

    def check(self) -> None:
        """Raises ConfigError if the repository's files are not there."""
        for path in (self.examples / "prometheus.yaml", self.rules_file):
            if not path.is_file():
                raise ConfigError(f"{path} does not exist; run this from the top of the repository")


class Stack:
    """Everything runs when the block is entered, and nothing when it is left. `missing` says what is not installed."""

    def __init__(self, files: StackFiles, broker: AbstractContextManager[Broker]) -> None:
        self._files = files
        self._opened_broker = broker
        self._opened = ExitStack()
        self._children: list[ChildProcess] = []
        self.demo = DemoFiles(files.out.resolve())
        self.missing: list[str] = []
        self.warnings: list[str] = []
        self.pages: dict[str, str] = {}
        self.prometheus: Prometheus | None = None
        self.alertmanager: Alertmanager | None = None
        self.review: ReviewPage | None = None
        self.phoenix: Phoenix | None = None

    def __enter__(self) -> Stack:
        try:
            self._start()
        except BaseException:
            self._opened.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def wait_ready(self, tick: Callable[[], None] = lambda: None, timeout_s: float = READY_S) -> None:
        """Returns once everything that was started answers. Raises Permanent if a part ends or takes too long."""
        self.sidecar.wait_ready(timeout_s, tick)
        for part in (self.prometheus, self.alertmanager, self.review, self.phoenix):
            if part is not None:
                part.wait_ready(_PROGRAM_READY_S, tick)

    def check_alive(self) -> None:
        """Raises Permanent if a part has ended by itself."""
        for child in self._children:
            child.check_alive()

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float) -> float:
        """Waits for a condition while everything lives; returns the seconds. Raises Permanent after `timeout_s`."""
        started = time.monotonic()
        while not condition():
            self.check_alive()
            if time.monotonic() - started > timeout_s:
                raise Permanent(f"not within {timeout_s:.0f} s: {what}")
            time.sleep(0.05)
        return time.monotonic() - started

    def _start(self) -> None:
        self._files.check()
        self.demo.prepare()
        out = self.demo.folder
        self.broker = self._opened.enter_context(self._opened_broker)
        self.broker.create_topics(PARTITIONS)
        self.topics = self._opened.enter_context(DemoTopics(self.broker.bootstrap_servers, GROUP))
        self.traffic = SampleTraffic(self.topics, "llm.events", f"sample-{time.time_ns():x}")
        port = free_port()
        self._start_alertmanager(out / "alertmanager")
        otlp = self._files.otlp or self._start_collector(out)
        self.write_config(self._config(port, otlp))
        self.sidecar = self._child(SidecarProcess(self.demo.config, port, self.demo.log, self._files.command))
        self.pages["Sidecar's metrics"] = f"{self.sidecar.url}/metrics"
        self._start_prometheus(out / "prometheus")
        self._start_review(out / "review")

    def write_config(self, config: Mapping[str, Any]) -> None:
        """The sidecar's config file; a running sidecar takes it into use."""
        self.demo.config.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")

    def _config(self, port: int, otlp: str | None) -> dict[str, Any]:
        config: dict[str, Any] = demo_config(self.broker.bootstrap_servers, self.demo.alerts, port)
        config["alerts"] = {**config["alerts"], "attributes": ["tenant"]}
        if self.alertmanager is not None:
            config["sinks"]["alertmanager"] = {"enabled": True, "url": self.alertmanager.url, "labels": _TENANT_LABEL}
        if otlp is not None:
            config["sinks"]["otel"] = {"enabled": True, "endpoint": otlp, "metrics_interval_s": 5, **_PROJECT}
        return {**config, **self._files.sidecar}

    def _start_alertmanager(self, folder: Path) -> None:
        program = ALERTMANAGER.find(os.environ)
        if program is None:
            self.missing.append(ALERTMANAGER.missing())
            return
        config = self._files.examples / "alertmanager.yaml"
        self.alertmanager = self._child(Alertmanager(program, folder, free_port(), config))
        self.pages["Alertmanager"] = self.alertmanager.url

    def _start_collector(self, out: Path) -> str | None:
        program = COLLECTOR.find(os.environ)
        if program is None:
            self.missing.append(COLLECTOR.missing())
            return None
        address = f"127.0.0.1:{free_port()}"
        log = out / "collector.log"
        command = [program, "--config", str(self._files.examples / "otel-collector.yaml")]
        environment = {**os.environ, "OTLP_ADDRESS": address}
        if self._files.phoenix and (phoenix := self._start_phoenix(out / "phoenix")) is not None:
            command += ["--config", str(self._files.examples / "otel-collector-phoenix.yaml")]
            environment["PHOENIX_URL"] = phoenix.url
        self._child(ChildProcess("the Collector", command, log, environment))
        self.pages["Alerts and spans over OTLP, printed by the Collector"] = str(log)
        return f"http://{address}"

    def _start_phoenix(self, folder: Path) -> Phoenix | None:
        program = PHOENIX.find(os.environ)
        if program is None:
            self.missing.append(PHOENIX.missing())
            return None
        grpc_port = free_port()
        self.warnings.append(LISTENS.format(port=grpc_port))
        self.phoenix = self._child(Phoenix(program, folder.resolve(), free_port(), grpc_port))
        self.pages["Phoenix"] = self.phoenix.url
        return self.phoenix

    def _start_prometheus(self, folder: Path) -> None:
        program = PROMETHEUS.find(os.environ)
        if program is None:
            self.missing.append(PROMETHEUS.missing())
            return
        self.prometheus = self._child(
            Prometheus(
                program,
                folder,
                free_port(),
                example=self._files.examples / "prometheus.yaml",
                rules=self._files.rules_file,
                target=self.sidecar.address,
                alertmanager=self.alertmanager.address if self.alertmanager is not None else None,
            )
        )
        self.pages["Prometheus"] = self.prometheus.url
        self.pages["Alert rules"] = f"{self.prometheus.url}/alerts"

    def _start_review(self, folder: Path) -> None:
        if not ReviewPage.installed():
            self.missing.append(REVIEW_MISSING)
            return
        self.demo.alerts.touch()  # the page reads it as it grows, and asks for it at the start
        self.review = self._child(ReviewPage(folder, free_port(), self.demo.config, self.demo.alerts))
        self.pages["Review page"] = self.review.url

    def _child(self, child: _Child) -> _Child:
        self._opened.enter_context(child)
        self._children.append(child)
        return child
