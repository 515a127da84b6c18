"""Ordinary code by many authors, found on this machine: harmless rows to fit and measure code sets with."""

from __future__ import annotations

import ast
import json
import random
import sysconfig
import textwrap
from collections.abc import Iterator
from pathlib import Path

_SHORTEST, _LONGEST = 6, 45  # lines


def python_rows(files: list[Path], kind: str, limit: int, rng: random.Random) -> Iterator[dict[str, object]]:
    """Functions and classes as assistants write them: some after a request, some in a Markdown fence."""
    found: list[tuple[str, str | None, str]] = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
            tree = ast.parse(text)
        except (OSError, ValueError, SyntaxError, RecursionError):
            continue
        lines = text.splitlines()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.end_lineno is not None:
                size = node.end_lineno - node.lineno + 1
                if _SHORTEST <= size <= _LONGEST:
                    body = textwrap.dedent("\n".join(lines[node.lineno - 1 : node.end_lineno]))
                    found.append((node.name, ast.get_docstring(node), body))
    rng.shuffle(found)
    for n, (name, doc, body) in enumerate(found[:limit]):
        purpose = f": {doc.splitlines()[0]}" if doc else "."
        prompt = "" if rng.random() < 0.4 else f"Write `{name}` in Python{purpose}"
        yield _row(kind, n, prompt, body if rng.random() < 0.7 else f"```python\n{body}\n```")


def text_rows(files: list[Path], kind: str, limit: int, rng: random.Random) -> Iterator[dict[str, object]]:
    """Excerpts of 10 to 35 lines, one per file."""
    rng.shuffle(files)
    n = 0
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            continue
        if len(lines) < 2 * _SHORTEST or max(map(len, lines)) > 200:
            continue
        start = rng.randrange(max(1, len(lines) - 30))
        yield _row(kind, n, "", "\n".join(lines[start : start + rng.randrange(10, 35)]))
        n += 1
        if n == limit:
            return


def _row(kind: str, n: int, prompt: str, response: str) -> dict[str, object]:
    return {
        "id": f"code-{kind}-{n}",
        "prompt": prompt,
        "response": response,
        "label": 0,
        "label_of": "response",
        "source": kind,
    }


def _is_script(file: Path) -> bool:
    try:
        if not file.is_file() or file.stat().st_size > 60_000:
            return False
        with file.open("rb") as f:
            return f.readline(80).startswith((b"#!/bin/sh", b"#!/bin/bash", b"#!/usr/bin/env bash"))
    except OSError:
        return False


def write_code_rows(out: Path) -> None:
    """Writes packages.jsonl, stdlib.jsonl, shell.jsonl and c.jsonl.

    They hold functions and classes of installed Python packages and of the standard library, and excerpts of shell
    scripts and C headers.
    """
    rng = random.Random(1)  # noqa: S311 - a sample, not a secret
    out.mkdir(parents=True, exist_ok=True)
    stdlib = Path(sysconfig.get_path("stdlib"))
    library = [f for f in sorted(stdlib.rglob("*.py")) if "site-packages" not in f.parts and "test" not in f.parts]
    packages = sorted(Path(sysconfig.get_path("purelib")).glob("*/**/*.py"))
    packages = [f for f in packages if "tests" not in f.parts]
    scripts = [f for d in ("/usr/bin", "/usr/sbin", "/etc/init.d", "/usr/share") for f in sorted(Path(d).rglob("*"))]
    headers = sorted(Path("/usr/include").rglob("*.h"))
    rng.shuffle(library)
    rng.shuffle(packages)
    kinds = {
        "stdlib": python_rows(library[:800], "stdlib", 600, rng),
        "packages": python_rows(packages[:1500], "packages", 1200, rng),
        "shell": text_rows([f for f in scripts if _is_script(f)], "shell", 300, rng),
        "c": text_rows(headers, "c", 300, rng),
    }
    for kind, rows in kinds.items():
        with (out / f"{kind}.jsonl").open("w", encoding="utf-8") as f:
            for row in rows:
                f.write(json.dumps(row, ensure_ascii=False) + "\n")
