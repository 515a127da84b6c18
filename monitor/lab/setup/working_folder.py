"""WorkingFolder: where `latentwatch init` keeps what."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from detectors.feature_set import ReaderRef
from monitor.errors import ConfigError
from monitor.lab.data.rows import LabelledRow
from monitor.lab.setup.answers import Answers
from monitor.lab.setup.row_split import RowSplit, row_names
from monitor.sets.load import load_feature_set
from monitor.sets.parts import READER_FILE
from monitor.yaml_edit import YamlEdit

_READER_KEY = "\nreader:\n"
"""The last key of a candidate set; READER_FILE has the same for all sets of the folder."""


@dataclass(frozen=True)
class WorkingFolder:
    """The places in one folder, and the files that no command of its own writes."""

    path: Path

    @property
    def answers(self) -> Path:
        """Written last when the folder is prepared, so the folder is prepared if this file is there."""
        return self.path / "init.yaml"

    @property
    def done(self) -> Path:
        """The record of finished steps."""
        return self.path / "steps.json"

    @property
    def config(self) -> Path:
        return self.path / "latentwatch.yaml"

    @property
    def sets(self) -> Path:
        return self.path / "sets"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @property
    def alerts(self) -> Path:
        return self.path / "alerts.jsonl"

    def set_file(self, category: str) -> Path:
        return self.sets / f"{category}.yaml"

    def candidates(self, category: str) -> Path:
        return self.path / "candidates" / category

    def report(self, category: str) -> Path:
        return self.path / "report" / category

    def rows(self, part: str, category: str, files: Iterable[Path]) -> list[Path]:
        """The labelled rows of a part (curate or judge), one file for each of the user's files."""
        names = row_names(list(files)).values()
        return [self.path / "rows" / part / category / f"{name}.jsonl" for name in names]

    def benign(self, part: str) -> Path:
        """The benign rows of a part: curate, calibrate or judge."""
        return self.path / "rows" / part / "benign.jsonl"

    def open(self) -> None:
        """Makes the folder. Raises ConfigError if it holds something else."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not self.done.exists():
                if any(self.path.iterdir()):
                    raise ConfigError(f"{self.path}: the folder is not empty, and init did not make it; give a new one")
                self.done.write_text("{}\n")
        except OSError as e:
            raise ConfigError(f"{self.path}: {e.strerror}") from None

    def prepare(self, answers: Answers, reader: ReaderRef, split: RowSplit) -> None:
        """Writes rows, reader.yaml, the config and, last, the answers. Raises ConfigError if it can't."""
        self.open()
        try:
            (self.path / "rows").mkdir(mode=0o700, exist_ok=True)  # they are texts, which only their owner may read
            for part, found in (("curate", split.curate), ("judge", split.judge)):
                for category, by_name in found.items():
                    for path, rows in zip(
                        self.rows(part, category, answers.data[category]), by_name.values(), strict=True
                    ):
                        _write_rows(path, rows)
            _write_rows(self.benign("curate"), split.benign_curate)
            _write_rows(self.benign("calibrate"), split.benign_calibrate)
            _write_rows(self.benign("judge"), split.benign_judge)
            self.sets.mkdir(exist_ok=True)
            (self.sets / READER_FILE).write_text(_reader_text(reader), encoding="utf-8")
            self.config.write_text(_config_text(answers, self.sets), encoding="utf-8")
            answers.save(self.answers)
        except OSError as e:
            raise ConfigError(f"{e.filename or self.path}: cannot be written: {e.strerror}") from None

    def draft(self, category: str) -> None:
        """Makes the candidates of a category a set of the folder `sets`, which shares READER_FILE with the others."""
        source, target = self.candidates(category) / "candidates.yaml", self.set_file(category)
        edit = YamlEdit(str(source), source.read_text(encoding="utf-8"))
        edit.set(("id",), category)
        edit.set(("title",), f"{category.replace('_', ' ').capitalize()}: draft")
        edit.set(("known_gaps", 0), "A draft: `calibration` says what the thresholds let through.")
        text = edit.text()
        try:
            target.write_text(text[: text.rindex(_READER_KEY) + 1], encoding="utf-8")
        except OSError as e:
            raise ConfigError(f"{target}: cannot be written: {e.strerror}") from None
        load_feature_set(target)


def _write_rows(path: Path, rows: Iterable[LabelledRow]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _reader_text(reader: ReaderRef) -> str:
    values = reader.model_dump(mode="json", exclude_none=True)
    return "# What all sets of this folder are read with.\n" + yaml.safe_dump(values, sort_keys=False)


def _config_text(answers: Answers, sets: Path) -> str:
    body = {
        "reader": {"model": answers.model, "engine": answers.engine},
        "feature_sets": {"paths": [str(sets)]},
    }
    return (
        "# Every step of latentwatch init reads this file. docs/configuration.md has all keys; the next ones to write\n"
        "# are kafka and source, for events, and sinks, for alerts.\n" + yaml.safe_dump(body, sort_keys=False)
    )
