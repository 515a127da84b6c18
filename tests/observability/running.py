"""Running: a stack of which every part is real and whose alert rules are impatient."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import yaml

from monitor.demo.stack.prometheus import Prometheus
from monitor.demo.stack.stack import Stack
from tests.brokers import ApacheKafka
from tests.observability.files import RULES
from tests.otlp_receiver import OtlpReceiver

WAIT_S = 60.0
Alert = dict[str, str]
"""Labels."""
SHORTER: dict[str, tuple[tuple[str, str, int], ...]] = {
    # what stands in the rule, what replaces it, and how often
    "NoEvents": (("[1h]", "[10s]", 1),),
    "LagGrowing": (("[30m:1m]", "[10s:1s]", 1),),
    "Stalled": (("> 600", "> 3", 1),),
    "AlertBurst": (("[10m]", "[20s]", 2), ("[1h] offset 10m", "[2m] offset 20s", 1)),
    "TenantAlertBurst": (("[10m]", "[20s]", 2), ("[1h] offset 10m", "[2m] offset 20s", 1)),
    "SetSilent": (("[7d] offset 1d", "[5m] offset 30s", 1), ("[1d]", "[30s]", 2)),
    "CanarySilent": (("[30m]", "[30s]", 1),),
    "latentwatch:feature_active:ratio_1d": (("[1d]", "[30s]", 2),),
    "latentwatch:feature_active:ratio_7d": (("[7d] offset 1d", "[5m] offset 30s", 2),),
    "FeatureRateDrift": (("[1d]", "[30s]", 1), ("[7d] offset 1d", "[5m] offset 30s", 1), ("> 10000", "> 200", 2)),
}
"""By alert or recorded series, the durations that are longer than anyone waits for a test.

Numbers of events and of alerts stay, except for the drift of features: 10,000 events take the reader minutes."""


@dataclass(frozen=True)
class Running:
    """A stack, and what is needed to break it."""

    stack: Stack
    prometheus: Prometheus
    broker: ApacheKafka
    otlp: OtlpReceiver
    undo: ExitStack
    """Closed after each fault."""

    def firing(self, alert: Alert) -> bool:
        matchers = ", ".join(f'{name}="{value}"' for name, value in alert.items())
        return bool(self.prometheus.query(f'ALERTS{{alertstate="firing", {matchers}}}'))

    def told(self, alert: Alert) -> bool:
        """Whether Alertmanager has it."""
        assert self.stack.alertmanager is not None
        return any(alert.items() <= labels.items() for labels in self.stack.alertmanager.alerts())

    def until_true(self, expression: str) -> None:
        """Waits until a PromQL comparison holds."""
        until(lambda: bool(self.prometheus.query(expression)), expression)

    def scrape(self, targets: list[str]) -> None:
        """Makes Prometheus scrape these."""
        path = self.stack.demo.folder / "prometheus/prometheus.yaml"
        config = yaml.safe_load(path.read_text())
        config["scrape_configs"][0]["static_configs"] = [{"targets": targets}]
        path.write_text(yaml.safe_dump(config))
        os.kill(self.prometheus.pid, signal.SIGHUP)


def impatient_rules(folder: Path) -> Path:
    """The shipped rules, except that nothing has to last for minutes before they fire."""
    text = re.sub(r"^( +for:) .*$", r"\1 1s", RULES.read_text(), flags=re.MULTILINE)
    rules = yaml.safe_load(text)
    by_name = {
        rule.get("record") or rule["alert"].removeprefix("Latentwatch"): rule
        for group in rules["groups"]
        for rule in group["rules"]
    }
    for name, replacements in SHORTER.items():
        rule = by_name[name]
        for long, short, times in replacements:
            assert rule["expr"].count(long) == times, (name, long)
            rule["expr"] = rule["expr"].replace(long, short)
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(rules))
    return path


def until(condition: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at, what
        time.sleep(0.1)
