"""The review page as a child process, if this installation has it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

from monitor.demo.web_process import WebProcess

_NEEDS = ("monitor.review", "starlette", "uvicorn", "sqlalchemy", "alembic", "itsdangerous")
MISSING = (
    "The review page is not installed: alerts are in a file only. Install it with: pip install 'latentwatch[review]'"
)


class ReviewPage(WebProcess):
    """Shows the alerts of the file `alerts` as it grows; its database and its log lie in `folder`."""

    def __init__(self, folder: Path, port: int, config: Path, alerts: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        database = folder / "review.sqlite"
        for path in folder.glob(f"{database.name}*"):  # of an earlier run, whose alerts are gone from the file
            path.unlink()
        options = ("--alerts", str(alerts), "--database", f"sqlite:///{database.resolve()}", "--port", str(port))
        super().__init__(
            "the review page",
            [sys.executable, "-m", "monitor", "review", "-c", str(config), *options],
            folder / "review.log",
            port,
            "/healthz",
        )

    @staticmethod
    def installed() -> bool:
        """Whether this installation has the page and what it needs."""
        return all(importlib.util.find_spec(name) is not None for name in _NEEDS)

    def newest(self) -> int:
        """The number of the newest alert on the page; 0 while there is none."""
        status, body = self._get("/newest")
        return int(json.loads(body)["newest"] or 0) if status == 200 else 0
