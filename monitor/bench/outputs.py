"""Outputs: the files that a benchmark writes, checked before the long run rather than after it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from monitor.bench.plot import write_plot
from monitor.bench.results import BenchReport
from monitor.bench.tables import markdown
from monitor.errors import ConfigError


@dataclass(frozen=True)
class Outputs:
    """Where the figures go; None for nowhere."""

    json: Path | None = None
    markdown: Path | None = None
    plot: Path | None = None

    def check(self) -> None:
        """Raises ConfigError with every output that can't be written."""
        problems = [
            f"{option}: {path.parent}: no such folder"
            for option, path in (("--json", self.json), ("--markdown", self.markdown))
            if path is not None and not path.parent.is_dir()
        ]
        if self.plot is not None and importlib.util.find_spec("matplotlib") is None:
            problems.append("--plot: needs matplotlib; run: pip install 'latentwatch[bench]'")
        if problems:
            raise ConfigError(problems)

    def write(self, report: BenchReport, command: str) -> None:
        """Writes the files. The Markdown page names `command` as the one that printed it."""
        if self.json is not None:
            self.json.write_text(report.to_json(), encoding="utf-8")
        if self.markdown is not None:
            self.markdown.write_text(markdown(report, command), encoding="utf-8")
        if self.plot is not None:
            write_plot(report, self.plot)
