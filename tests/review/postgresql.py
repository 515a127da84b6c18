"""PostgreSQL for tests: a cluster of its own in a temporary folder, reached over a Unix socket."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType

import psycopg


def server_folder() -> Path | None:
    """The folder of `initdb` and `postgres`; None if PostgreSQL is not installed."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(folders) if (folder / "postgres").exists()), None)


class PostgreSql:
    """A cluster without durability. As root it runs as the user postgres, because it refuses to run as root."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._user = "postgres" if os.getuid() == 0 else None
        self._name = self._user or getpass.getuser()
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        self._databases += 1
        name = f"review_{self._databases}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://{self._name}@/{name}?host={self._folder}"

    def _address(self, database: str) -> str:
        return f"host={self._folder} user={self._name} dbname={database}"

    def __enter__(self) -> PostgreSql:
        if self._user is not None:
            os.chown(self._folder, pwd.getpwnam(self._user).pw_uid, -1)
        data = self._folder / "data"
        subprocess.run(
            [self._programs / "initdb", "-D", data, "-A", "trust", "-U", self._name, "--no-sync", "-E", "UTF8"],
            check=True,
            capture_output=True,
            user=self._user,
            cwd="/",
            timeout=120,
        )
        self._process = subprocess.Popen(
            [
                self._programs / "postgres", "-D", data, "-k", self._folder, "-c", "listen_addresses=",
                "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
            cwd="/",
        )  # fmt: skip
        give_up_at = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self._address("postgres")).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > give_up_at:
                    raise
                time.sleep(0.05)
            else:
                return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # SIGTERM would wait for clients
            self._process.wait(30)
