"""docs/intake.md: the config is valid, the Python runs, and what it says of limits is so."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.applications import Starlette

from monitor.config.load import load_config

DOCS = (Path(__file__).parents[2] / "docs" / "intake.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)


def test_the_config_is_valid_and_needs_no_broker(tmp_path: Path) -> None:
    (text,) = (block for block in blocks("yaml") if "source:" in block)
    path = tmp_path / "config.yaml"
    path.write_text(text)
    config = load_config(path, {})
    assert not config.uses_kafka
    assert f"takes events on {config.http.address}" in DOCS


def test_the_middleware_is_added_as_shown() -> None:
    (code,) = (block for block in blocks("python") if "add_middleware" in block)
    app = Starlette()
    exec(code, {"app": app})  # noqa: S102 - what the page tells people to run
    assert len(app.user_middleware) == 1


def test_the_callback_compiles() -> None:
    (code,) = (block for block in blocks("python") if "LatentwatchCallback" in block)
    compile(code, "latentwatch_callback.py", "exec")
    assert "callbacks: latentwatch_callback.callback" in DOCS
