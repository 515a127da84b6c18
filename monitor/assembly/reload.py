"""Reload: takes a changed config and changed feature sets into use while the sidecar runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Protocol

from monitor.assembly.build import LiveEngine
from monitor.assembly.changes import all_changes
from monitor.assembly.engine import build_policy
from monitor.assembly.live_readers import NextReading
from monitor.assembly.sets import load_sets
from monitor.config.changes import config_changes
from monitor.config.sections import Config
from monitor.config.watched_files import FileState, WatchedFiles, file_states
from monitor.errors import ConfigError
from monitor.sets.load import LoadedSet, files_of_sets, reads_alike

log = logging.getLogger(__name__)

POLL_S = 0.5
_MAX_LOGGED = 20


class ReloadReport(Protocol):
    """Where a reload tells how it went; Telemetry is one."""

    def config_loaded(self, config: Config, sets: Sequence[LoadedSet]) -> None:
        """A configuration is in use, with these feature sets."""

    def reloaded(self, outcome: str) -> None:
        """A reload ended: applied, unchanged or refused."""


@dataclass(frozen=True)
class Version:
    """A config with its feature sets, checked, and how the readers will read for them."""

    config: Config
    reading: NextReading


class Reload:
    """Watches the files of a configuration, checks a new version, and swaps it in between two batches.

    `look` runs in a thread of its own, because it reads files; `between_batches` runs in the loop. A version that is
    refused changes nothing: the one before it stays in use.
    """

    def __init__(
        self,
        path: Path | None,
        load: Callable[[], Config],
        running: Config,
        live: LiveEngine,
        report: ReloadReport,
        on_applied: Callable[[Config, Sequence[LoadedSet]], None] = lambda *_: None,
    ) -> None:
        """`path` is the config file and `load` reads it again; `running` is what the engine was built from."""
        self._path = path
        self._load = load
        self._running = Version(running, NextReading(live.artefacts.sets, live.artefacts.columns))
        self._live = live
        self._report = report
        self._on_applied = on_applied
        self._watched = WatchedFiles()
        self._paths: Sequence[str] = running.feature_sets.paths
        self._looked = False
        self._pending: Version | None = None

    def look(self, asked: bool = False) -> None:
        """Checks the files if they have changed, or if a user `asked` for it."""
        if self._pending is not None:
            return  # one version at a time; a newer one is found right after
        now = self._states()
        if not self._watched.settled(now) and not asked:
            return
        first, self._looked = not self._looked, True
        self._watched.used(now)
        try:
            version = self._next()
        except ConfigError as e:
            if self._still(now):
                self._refused(e)
            return
        if not self._still(now):
            return
        if version is not None:
            self._pending = version
        elif asked or not first:
            log.info("reload: config and feature sets are those in use")
            self._report.reloaded("unchanged")

    def between_batches(self) -> None:
        """Takes a version that was checked into use."""
        version = self._pending
        if version is None:
            return
        try:
            margins = self._live.readers.use(version.reading)
        except ConfigError as e:
            self._pending = None
            self._refused(e)
            return
        reading, before = version.reading, self._running
        self._live.engine.use(build_policy(version.config, reading.sets, reading.columns, margins))
        self._running = version
        self._pending = None
        self._on_applied(version.config, reading.sets)
        self._report.config_loaded(version.config, reading.sets)
        self._report.reloaded("applied")
        log.info("reload: config %s is in use", version.config.sha256()[:16])
        changes = list(all_changes((before.config, version.config), (before.reading.sets, reading.sets)))
        for change in changes[:_MAX_LOGGED]:
            log.info("reload: %s: %s", change.key, change.words)
        if len(changes) > _MAX_LOGGED:
            log.info("reload: and %d more changes", len(changes) - _MAX_LOGGED)

    def _states(self) -> Mapping[Path, FileState]:
        config = [] if self._path is None else [self._path]
        return file_states(chain(config, files_of_sets(self._paths)))

    def _still(self, states: Mapping[Path, FileState]) -> bool:
        """Whether the files are as they were; if not, half of a change may have been read, and all is read again."""
        if self._states() == states:
            return True
        self._watched.used(None)
        return False

    def _next(self) -> Version | None:
        """The version on disk; None if it is the one in use. Raises ConfigError if it cannot be used."""
        config = self._load()
        self._paths = config.feature_sets.paths
        problems = restart_problems(self._running.config, config)
        if problems:
            raise ConfigError(problems)
        sets = tuple(load_sets(config))
        if config == self._running.config and _revisions(sets) == _revisions(self._running.reading.sets):
            return None
        artefacts = self._live.artefacts
        if not reads_alike(sets[0].shipped.reader, artefacts.ref):
            raise ConfigError(
                f"{sets[0].path}: reader: differs from that of the running sets; another model, layer or SAE needs a "
                "restart"
            )
        return Version(config, self._live.readers.prepare(replace(artefacts, sets=sets)))

    def _refused(self, error: ConfigError) -> None:
        self._report.reloaded("refused")
        for problem in error.problems:
            log.error("reload: %s", problem)
        log.error("reload: refused; config %s stays in use", self._running.config.sha256()[:16])


class ReloadThread:
    """Looks at the files every POLL_S seconds, and at once when `asked` is set."""

    def __init__(self, reload: Reload, asked: threading.Event, poll_s: float = POLL_S) -> None:
        self._reload = reload
        self._asked = asked
        self._poll_s = poll_s
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._closing = True
        self._asked.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            asked = self._asked.wait(self._poll_s)
            if self._closing:
                return
            self._asked.clear()
            try:
                self._reload.look(asked)
            except Exception:
                log.exception("reload: failed; the config in use stays")


def restart_problems(running: Config, new: Config) -> list[str]:
    """The keys that differ and that only a restart can change."""
    changes = config_changes(running, new)
    return [f"{c.key}: changed, and only a restart can change it" for c in changes if c.needs_restart]


def _revisions(sets: Sequence[LoadedSet]) -> list[tuple[str, str]]:
    return [(loaded.set.id, loaded.sha256) for loaded in sets]
