"""LabelTexts: texts read once with only the latents that want a name; those for naming, and those kept back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from rich.console import Console

from detectors.feature_set import Feature, FeatureSet
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.lab.data.rows import LabelledRow, load_benign, load_rows
from monitor.lab.reading.hook import Hook, shard_reader
from monitor.lab.reading.progress import row_progress
from monitor.lab.reading.sharded_texts import ShardedTexts
from monitor.lab.reading.token_shards import ShardReader


@dataclass(frozen=True)
class LabelRequest:
    """Which latents, and which texts to show them on."""

    rows: tuple[Path, ...]
    benign: tuple[Path, ...] = ()
    """Files of harmless texts, for the rates."""
    only: tuple[int, ...] = ()
    """Indices of the latents; empty means all of the set."""
    seed: int = 0
    limit: int | None = None
    """Most rows of each file, drawn with `seed`; pairs stay whole."""
    cache: Path | None = None
    keep_back: bool = True
    """Whether half of the texts is kept back to judge labels with."""


@dataclass
class LabelTexts:
    """A context manager: its shards are gone afterwards, unless the request has a cache."""

    request: LabelRequest
    hook: Hook
    config: Config
    console: Console
    naming: list[ShardedTexts] = field(default_factory=list)
    """One for each file."""
    kept_back: list[ShardedTexts] = field(default_factory=list)
    benign: ShardedTexts | None = None
    counts: dict[str, int] = field(default_factory=dict)
    """Rows of each file."""

    @property
    def used(self) -> FeatureSet:
        """The set that the latents belong to."""
        if self.hook.loaded is None:
            raise ConfigError("labels belong to the latents of a set; name one")
        return self.hook.loaded.set

    @property
    def features(self) -> list[Feature]:
        """The latents that want a name, those with the largest weights first."""
        known = {feature.index: feature for feature in self.used.features}
        unknown = [index for index in self.request.only if index not in known]
        if unknown:
            raise ConfigError(f"--only: {self.used.id} has no feature {unknown[0]}")
        chosen = [known[index] for index in self.request.only] or list(known.values())
        return sorted(chosen, key=lambda feature: -abs(feature.weight or 0.0))

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        try:
            self._read(self.request.cache or Path(self._stack.enter_context(TemporaryDirectory(prefix="latentwatch-"))))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _read(self, cache: Path) -> None:
        request = self.request
        shards = shard_reader(self.hook, self.config, cache, [feature.index for feature in self.features])
        for path in dict.fromkeys(request.rows):
            rows = load_rows(path, request.limit, request.seed)
            if not rows:
                raise ConfigError(f"--rows {path}: no rows")
            self.counts[str(path)] = len(rows)
            sides: dict[bool, list[LabelledRow]] = {False: [], True: []}
            for row in rows:
                sides[request.keep_back and is_kept_back(row, request.seed)].append(row)
            self.naming.append(self._texts(shards, path.name, sides[False]))
            back = sides[True]
            if back:
                self.kept_back.append(self._texts(shards, path.name, back))
        harmless: list[LabelledRow] = []
        for path in dict.fromkeys(request.benign):
            events = self.config.events
            found = load_benign(path, request.limit, request.seed, events.limits, events.body_format())
            self.counts[str(path)] = len(found)
            harmless += found
        if harmless:
            self.benign = self._texts(shards, "benign rows", harmless)
        self.naming = [texts for texts in self.naming if texts.rows]
        self.kept_back = [texts for texts in self.kept_back if texts.rows]
        if not self.naming:
            raise ConfigError(f"--rows: no row has text in the segments of {self.used.id}")

    def _texts(self, shards: ShardReader, name: str, rows: Sequence[LabelledRow]) -> ShardedTexts:
        with row_progress(self.console) as progress:
            task = progress.add_task(f"reading {name}", total=len(rows))
            files = shards.read(rows, lambda count: progress.advance(task, count))
        return ShardedTexts(name, rows, files, self.hook.segments)


def is_kept_back(row: LabelledRow, seed: int) -> bool:
    """Whether the row is kept back to judge labels with. Rows of one pair are always on the same side."""
    return hashlib.sha256(f"{seed} {row.cluster}".encode()).digest()[0] % 2 == 1
