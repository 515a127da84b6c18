"""Databases for the tests, and the app on one of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from monitor.review.database import open_database
from tests.review.postgresql import PostgreSql, server_folder


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSql]:
    """Skips the test if there is no PostgreSQL."""
    programs = server_folder()
    if programs is None:
        pytest.skip("install PostgreSQL (Debian: apt-get install postgresql) to test with it")
    # a short path, because that of a Unix socket has a limit, and one that the server's user may enter
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder, PostgreSql(programs, Path(folder)) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty database of each kind in turn."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/review.sqlite"
    else:
        url = request.getfixturevalue("postgresql").new_database()
    opened = open_database(url)
    yield opened
    opened.dispose()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    """An empty SQLite database."""
    opened = open_database(f"sqlite:///{tmp_path}/review.sqlite")
    yield opened
    opened.dispose()
