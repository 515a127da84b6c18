"""The table of the chart's README, from values.yaml: `python -m tests.deploy.documented_values` prints it.

A comment that begins with `# --` describes the key below it, as in helm-docs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from tests.deploy.manifest import REPOSITORY

VALUES = REPOSITORY / "deploy/helm/latentwatch/values.yaml"
_LONGEST_DEFAULT = 60


def rows(text: str) -> Iterator[tuple[str, str, str]]:
    """Every described key: its path, its default, its meaning."""
    values, path, meaning = yaml.safe_load(text), list[tuple[int, str]](), ""
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("# -- "):
            meaning = bare.removeprefix("# -- ")
        elif bare and not bare.startswith(("#", "- ")):
            indent = len(line) - len(line.lstrip())
            path = [*((at, name) for at, name in path if at < indent), (indent, bare.split(":")[0])]
            if meaning:
                names = [name for _, name in path]
                yield ".".join(names), _default(_value(values, names)), meaning
                meaning = ""


def undescribed(text: str) -> list[str]:
    """The keys that no row describes, neither they nor a section around them."""
    described = {path for path, _, _ in rows(text)}
    return [path for path in _leaves(yaml.safe_load(text)) if not any(_within(path, known) for known in described)]


def table(text: str) -> str:
    """All of it as Markdown."""
    head = "| Value | Default | Meaning |\n|---|---|---|\n"
    return head + "\n".join(f"| `{path}` | {default} | {meaning} |" for path, default, meaning in rows(text))


def _value(values: Any, names: list[str]) -> Any:
    for name in names:
        values = values[name]
    return values


def _default(value: Any) -> str:
    written = json.dumps(value)
    return f"`{written}`" if len(written) <= _LONGEST_DEFAULT else "see values.yaml"


def _leaves(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix


def _within(path: str, known: str) -> bool:
    return path == known or path.startswith(f"{known}.")


if __name__ == "__main__":
    print(table(VALUES.read_text()))  # noqa: T201
