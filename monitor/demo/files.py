"""DemoFiles: the files that a demo leaves in its folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_COMPILING = re.compile(r'compiling the reader(?: \([^)"\n]*\))?')  # ends before the quote that ends a JSON message


@dataclass(frozen=True)
class DemoFiles:
    """config.yaml, sidecar.log, alerts.jsonl and report.html in `folder`."""

    folder: Path

    @property
    def config(self) -> Path:
        """The sidecar's config."""
        return self.folder / "config.yaml"

    @property
    def log(self) -> Path:
        """The sidecar's log."""
        return self.folder / "sidecar.log"

    @property
    def alerts(self) -> Path:
        """All alerts, one per line."""
        return self.folder / "alerts.jsonl"

    @property
    def report(self) -> Path:
        """The report page."""
        return self.folder / "report.html"

    def prepare(self) -> None:
        """Creates the folder and removes the files of an earlier demo, because the sidecar appends alerts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (self.config, self.log, self.alerts, self.report):
            path.unlink(missing_ok=True)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the log."""
        return "\n".join(self._log_text().rstrip().split("\n")[-lines:])

    def compile_step(self) -> str | None:
        """What the sidecar logged last about compiling, such as "compiling the reader (1 of 4: ...)"; None if nothing.

        Compiling takes most of the first start, and there is no other sign of it.
        """
        steps = _COMPILING.findall(self._log_text())
        return steps[-1] if steps else None

    def _log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.is_file() else ""
