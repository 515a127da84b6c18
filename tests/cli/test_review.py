"""`latentwatch review` as a user starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor.cli.app import app
from monitor.errors import ConfigError
from tests.cli.test_app import ENTRY, ROOT
from tests.report.alert_samples import realistic_alerts


def problem(*arguments: str) -> str:
    found = CliRunner().invoke(app, ["review", *arguments])
    assert isinstance(found.exception, ConfigError)
    return str(found.exception)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "::"), "--host: :: can be reached from other machines: add --token-file"),
        (("--role-header", "X-Role"), "--role-header and --proxy: only with --user-header"),
        (("--token-file", "x", "--user-header", "X-User"), "choose one way"),
        (("--token-file", "/nowhere"), "--token-file: /nowhere: No such file"),
        (("--trace-url", "https://x/"), "--trace-url: https://x/: expected the fields {trace_id}"),
        (("--database-url-file", "/nowhere"), "--database-url-file: /nowhere: cannot be read"),
        (("--database", "mysql://x"), "only sqlite and postgresql"),
    ],
)
def test_bad_options_stop_the_start(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    alerts = tmp_path / "alerts.jsonl"
    alerts.write_text("")
    assert said in problem("--alerts", str(alerts), *arguments)


def test_without_a_topic_or_a_file_there_is_nothing_to_read(tmp_path: Path) -> None:
    config = tmp_path / "latentwatch.yaml"
    config.write_text("sinks: {kafka: {enabled: false}, jsonl: {enabled: true, path: x}}")
    assert problem("--config", str(config)) == "sinks.kafka is not enabled: enable it, or name a file with --alerts"


def test_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "itsdangerous", None)
    monkeypatch.delitem(sys.modules, "monitor.review.access", raising=False)
    assert problem() == "latentwatch review needs itsdangerous; run: pip install 'latentwatch[review]'"


def test_it_serves_the_alerts_of_a_file_until_sigterm(tmp_path: Path) -> None:
    alerts = tmp_path / "alerts.jsonl"
    alerts.write_text("".join(alert.to_json() + "\n" for alert in realistic_alerts()))
    command = [sys.executable, "-c", ENTRY, "review", "--alerts", alerts, "--port", "0"]
    database = f"sqlite:///{tmp_path}/review.sqlite"
    with subprocess.Popen(
        [*command, "--database", database],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("LATENTWATCH")},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            address = next(found[1] for line in lines if (found := re.search(r"review page on (http:\S+)", line)))
            give_up_at = time.monotonic() + 30
            while True:
                with urllib.request.urlopen(address) as answer:
                    page = answer.read().decode()
                if "chat-000117" in page:
                    break
                assert time.monotonic() < give_up_at
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
