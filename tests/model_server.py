"""The packaged model behind `transformers serve`, a real OpenAI-compatible server on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.brokers import free_ports

_START_S = 240.0


class ModelServer:
    """A context manager around one child process. Asks no hub for anything."""

    def __init__(self, model: Path, log: Path) -> None:
        self.model = str(model)
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._log = log
        self._command = [str(Path(sys.executable).parent / "transformers"), "serve", self.model]
        self._command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]

    def __enter__(self) -> ModelServer:
        env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "2"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=env)
        give_up_at = time.monotonic() + _START_S
        while not self._answers():
            failed = self._process.poll() is not None or time.monotonic() > give_up_at
            if failed:
                self.__exit__()
                raise RuntimeError(f"transformers serve did not start: {self._log.read_text()[-3_000:]}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False
