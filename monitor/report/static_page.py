"""What all HTML pages share: escaping by default, shading, and a policy under which only our own script runs."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from monitor.report.shading import DARK, LIGHT
from monitor.report.visible_text import visible_line


def page_environment(*folders: str) -> Environment:
    """Templates of `monitor/FOLDER`, the first one that has them; they escape every value."""
    env = Environment(
        loader=ChoiceLoader([PackageLoader("monitor", folder) for folder in folders]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["visible_line"] = visible_line
    return env


def page_css() -> str:
    """The style that all pages share, with the colours of shaded tokens."""
    return asset("monitor.report", "page.css") + _shading_css()


def asset(package: str, name: str) -> str:
    """A text file inside a package."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def content_policy(css: str, js: str) -> str:
    """Only our own inline style and script may run: injected ones would not even if escaping failed."""
    sources = f"style-src '{_sha256(css)}'; script-src '{_sha256(js)}'"
    return f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'"


def write_page(path: Path, page: str) -> None:
    """Writes a page that only its owner may read, because it may show texts of users and models. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # the temporary file is private from the start, and a reader never sees half a page
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(page)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _shading_css() -> str:
    def rules(palette: Iterable[tuple[str, str]]) -> str:
        return "".join(f".s{n}{{background:{b};color:{f}}}" for n, (b, f) in enumerate(palette, start=1))

    return f"{rules(LIGHT)}\n@media screen and (prefers-color-scheme:dark){{{rules(DARK)}}}\n"


def _sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
