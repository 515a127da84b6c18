"""TrainingRun: the folder of one training run, with config, metrics, log, checkpoints and the saved SAE."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monitor.errors import ConfigError

_KEPT = 2


class TrainingRun:
    """config.json, metrics.jsonl, train.log, checkpoints/, sae/ and metrics.json. Checkpoints are always complete."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sae = folder / "sae"
        self.log = folder / "train.log"
        self.figures = folder / "metrics.json"
        self._config = folder / "config.json"
        self._metrics = folder / "metrics.jsonl"
        self._checkpoints = folder / "checkpoints"

    def begin(self, config: dict[str, Any], resume: bool) -> Path | None:
        """Creates the folder, or with `resume` returns the newest checkpoint of the run, if there is one.

        Raises ConfigError if the folder holds a run and `resume` is not set, or if that run has another `config`.
        """
        config = json.loads(json.dumps(config))
        if self._config.is_file():
            if not resume:
                raise ConfigError(
                    f"{self.folder}: already holds a run; continue it with --resume, or give another --out"
                )
            old = json.loads(self._config.read_text())
            if different := sorted(key for key in {*old, *config} if old.get(key) != config.get(key)):
                raise ConfigError(f"{self.folder}: the run there has different values of {', '.join(different)}")
        else:
            self._checkpoints.mkdir(parents=True, exist_ok=True)
            self._config.write_text(json.dumps(config, indent=1) + "\n")
        done = self._steps()
        self._cut_metrics(max(done, default=0))
        return self._checkpoints / f"step-{max(done):07d}" if done else None

    def checkpoint(self, step: int, save: Callable[[Path], None]) -> None:
        """Lets `save` fill a folder, which becomes the checkpoint of `step`. Only the two newest are kept."""
        part = self._checkpoints / ".part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        save(part)
        part.replace(self._checkpoints / f"step-{step:07d}")
        for old in sorted(self._steps())[:-_KEPT]:
            shutil.rmtree(self._checkpoints / f"step-{old:07d}")

    def note(self, metrics: dict[str, Any]) -> None:
        """Adds a line to metrics.jsonl."""
        with self._metrics.open("a") as file:
            file.write(json.dumps(metrics) + "\n")

    def _steps(self) -> list[int]:
        return [int(f.name.removeprefix("step-")) for f in self._checkpoints.glob("step-*")]

    def _cut_metrics(self, step: int) -> None:
        """Drops the lines of steps that will run again."""
        if not self._metrics.is_file():
            return
        lines = self._metrics.read_text().splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        self._metrics.write_text("".join(line + "\n" for line in kept))
