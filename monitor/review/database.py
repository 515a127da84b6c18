"""open_database: a SQLAlchemy engine for SQLite or PostgreSQL whose tables are up to date."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
from alembic.util import CommandError
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from monitor.errors import ConfigError

_BUSY_S = 10
_CONNECTIONS = 8
_POSTGRESQL = ("postgres", "postgresql", "postgresql+psycopg")


def open_database(url: str) -> Engine:
    """The database of `url`, with the newest tables. A SQLite file is created, readable only by its owner.

    Raises ConfigError naming --database if it cannot be used; messages never contain the password.
    """
    parsed = _parsed(url)
    shown = parsed.render_as_string(hide_password=True)
    try:
        engine = _engine(parsed)
        with engine.connect() as connection:
            config = alembic.config.Config()
            config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "head")
            connection.commit()
    except CommandError as e:
        raise ConfigError(f"--database: {shown}: {e}; it was made by another version of latentwatch") from None
    except (SQLAlchemyError, OSError) as e:
        raise ConfigError(f"--database: {shown}: {reason(e)}") from None
    return engine


def reason(error: Exception) -> str:
    """What the database said, on one line."""
    return " ".join(str(getattr(error, "orig", None) or error).split()) or type(error).__name__


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError("--database: expected sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME") from None
    if parsed.drivername in _POSTGRESQL:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername != "sqlite":
        raise ConfigError(f"--database: {parsed.drivername}: only sqlite and postgresql are supported")
    if parsed.database in (None, "", ":memory:"):
        raise ConfigError("--database: name a file, as in sqlite:///review.sqlite")
    return parsed


def _engine(url: URL) -> Engine:
    if url.drivername == "sqlite":
        _create_private(Path(url.database or ""))
        engine = create_engine(
            url, pool_size=_CONNECTIONS, connect_args={"timeout": _BUSY_S, "check_same_thread": False}
        )
        event.listen(engine, "connect", _prepare)
        return engine
    try:
        return create_engine(url, pool_size=_CONNECTIONS, pool_pre_ping=True, connect_args={"connect_timeout": _BUSY_S})
    except ModuleNotFoundError:
        raise ConfigError("--database: PostgreSQL needs: pip install 'latentwatch[review-postgres]'") from None


def _create_private(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # texts of users and models go in here; SQLite gives its side files the same permissions
    path.touch(mode=0o600, exist_ok=True)


def _prepare(connection: Any, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "cache_size=-65536"):
            connection.execute(f"PRAGMA {pragma}")
