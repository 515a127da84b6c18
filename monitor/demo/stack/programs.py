"""The programs of the stack, and how to install those that are missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Program:
    """One program that is installed outside of this package."""

    called: str
    names: tuple[str, ...]
    """On the PATH, the preferred one first."""
    without_it: str
    """What does not work if it is missing."""
    install: str
    """How to get it."""
    variable: str | None = None
    """Environment variable that may name the program."""

    def find(self, environment: Mapping[str, str]) -> str | None:
        """Its path; None if it is not installed."""
        named = environment.get(self.variable) if self.variable is not None else None
        found = (shutil.which(name, path=environment.get("PATH", os.defpath)) for name in (named, *self.names) if name)
        return next((path for path in found if path is not None), None)

    def missing(self) -> str:
        """What to print if it is."""
        return f"{self.called} is not installed: {self.without_it}. Install it with: {self.install}"


PROMETHEUS = Program(
    "Prometheus",
    ("prometheus",),
    "nothing keeps metrics, and no alert rules run",
    "apt-get install prometheus",
)
ALERTMANAGER = Program(
    "Alertmanager",
    ("alertmanager", "prometheus-alertmanager"),
    "alerts of the rules are shown only by Prometheus",
    "apt-get install prometheus-alertmanager",
)
COLLECTOR = Program(
    "The OpenTelemetry Collector",
    ("otelcol", "otelcol-contrib"),
    "alerts and spans are not sent over OTLP",
    "a release of opentelemetry-collector; set OTELCOL_BIN to its path",
    "OTELCOL_BIN",
)
PHOENIX = Program(
    "Phoenix",
    ("phoenix",),
    "spans have no page; the Collector prints them",
    "pip install arize-phoenix (in an environment of its own, with its bin folder on the PATH)",
)
