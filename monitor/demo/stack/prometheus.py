"""Prometheus and Alertmanager as child processes, with the example configurations of deploy/observability."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from monitor.demo.web_process import WebProcess
from monitor.errors import Permanent


@dataclass(frozen=True)
class Series:
    """One series of an answer: its labels and its value now."""

    labels: dict[str, str]
    value: float


class Prometheus(WebProcess):
    """Scrapes `target` every `scrape_s` seconds and runs the rules of the file `rules`. Its data lies in `folder`."""

    def __init__(
        self,
        program: str,
        folder: Path,
        port: int,
        *,
        example: Path,
        rules: Path,
        target: str,
        alertmanager: str | None,
        scrape_s: int = 1,
    ) -> None:
        super().__init__(
            "Prometheus",
            [
                program,
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            folder / "prometheus.log",
            port,
            "/-/ready",
        )
        folder.mkdir(parents=True, exist_ok=True)
        config = yaml.safe_load(example.read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": f"{scrape_s}s", "evaluation_interval": f"{scrape_s}s"}
        config["rule_files"] = [str(rules.resolve())]
        config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
        config["alerting"] = {
            "alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}] if alertmanager else []
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    def query(self, expression: str) -> list[Series]:
        """The series that a PromQL expression has now. Raises Permanent with Prometheus's words if it refuses it."""
        status, body = self._get(f"/api/v1/query?{urlencode({'query': expression})}")
        if status == 0:
            raise Permanent("Prometheus does not answer")
        answer = json.loads(body)
        if answer["status"] != "success":
            raise Permanent(f"Prometheus refuses {expression}: {answer['error']}")
        data = answer["data"]
        found: Sequence[Any] = (
            [{"metric": {}, "value": data["result"]}] if data["resultType"] == "scalar" else data["result"]
        )
        return [Series(each["metric"], float(each["value"][1])) for each in found]


class Alertmanager(WebProcess):
    """Runs alone, without a cluster, with the configuration in the file `config`. Its data lies in `folder`."""

    def __init__(self, program: str, folder: Path, port: int, config: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(
            "Alertmanager",
            [
                program,
                f"--config.file={config}",
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            folder / "alertmanager.log",
            port,
            "/-/ready",
        )

    def alerts(self) -> list[dict[str, str]]:
        """The labels of every alert that it has now."""
        status, body = self._get("/api/v2/alerts")
        return [dict(alert["labels"]) for alert in json.loads(body)] if status else []
