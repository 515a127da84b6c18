"""SidecarProcess: `latentwatch run` as a child process."""

from __future__ import annotations

import http
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from monitor.config.sections import ENV_PREFIX
from monitor.demo.web_process import WebProcess

_OWN_SECTIONS = ("KAFKA", "SOURCE", "HTTP", "EVENTS", "ALERTS", "SINKS", "HEALTH")


class SidecarProcess(WebProcess):
    """The child reads `config`, serves its health endpoints on `port`, and writes its output to `log`.

    Of the overrides in the environment it only gets those for the reader, the feature sets and the log: an override
    that is meant for a deployment must not send the child to that deployment's brokers.
    """

    def __init__(self, config: Path, port: int, log: Path, command: Sequence[str] = ()) -> None:
        dropped = tuple(f"{ENV_PREFIX}{section}__" for section in _OWN_SECTIONS)
        super().__init__(
            "the sidecar",
            [*(command or (sys.executable, "-m", "monitor", "run", "-c")), str(config)],
            log,
            port,
            "/readyz",
            {k: v for k, v in os.environ.items() if not k.upper().startswith(dropped)},
        )

    def unready(self) -> list[str] | None:
        """The reasons that /readyz gives; empty if it is ready, None if it does not answer."""
        status, body = self._get("/readyz")
        if status == 0:
            return None
        return [] if status == http.HTTPStatus.OK else [str(reason) for reason in json.loads(body)["reasons"]]

    def metric(self, sample: str) -> float | None:
        """The sum of a metric's samples over all labels, from /metrics; None if there is no such sample."""
        status, body = self._get("/metrics")
        if status != 200:
            return None
        families = text_string_to_metric_families(body.decode(errors="replace"))
        values = [s.value for family in families for s in family.samples if s.name == sample]
        return sum(values) if values else None
