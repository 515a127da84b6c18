"""The stack with a stand-in for the sidecar: what it does without, and that it leaves nothing running."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from monitor.demo.broker import EmbeddedBroker
from monitor.demo.stack.programs import ALERTMANAGER, COLLECTOR, PROMETHEUS
from monitor.demo.stack.stack import Stack, StackFiles
from monitor.errors import ConfigError, Permanent
from tests.observability.files import REPOSITORY

pytestmark = pytest.mark.kafka


def files(folder: Path, fault: str = "none") -> StackFiles:
    return StackFiles(REPOSITORY / "deploy", folder, command=(sys.executable, "-m", "tests.demo.fake_sidecar", fault))


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fails if a process is left that was not there before."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    yield
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before


@pytest.mark.usefixtures("nothing_left")
def test_without_the_other_programs_it_runs_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("OTELCOL_BIN", raising=False)
    with Stack(files(tmp_path), EmbeddedBroker()) as stack:
        stack.wait_ready(timeout_s=60)
        stack.traffic.send(3)
        assert {PROMETHEUS.missing(), ALERTMANAGER.missing(), COLLECTOR.missing()} <= set(stack.missing)
        assert stack.prometheus is None
        assert "Prometheus" not in stack.pages


def interrupted(folder: Path) -> None:
    """As by Ctrl-C while everything runs."""
    with Stack(files(folder), EmbeddedBroker()):
        raise KeyboardInterrupt


def with_a_part_that_ends(folder: Path) -> None:
    with Stack(files(folder), EmbeddedBroker()) as stack:
        stack.sidecar.stop(10)
        stack.check_alive()


@pytest.mark.usefixtures("nothing_left")
def test_ctrl_c_leaves_nothing_running(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path)


@pytest.mark.usefixtures("nothing_left")
def test_a_part_that_ends_by_itself_stops_the_others_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="the sidecar exited by itself"):
        with_a_part_that_ends(tmp_path)


def test_outside_of_the_repository_it_says_where_to_run_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run this from the top of the repository"):
        StackFiles(tmp_path / "deploy", tmp_path).check()
