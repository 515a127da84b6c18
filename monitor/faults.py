"""Faults: what a file has that its model does not allow, one line each, as a ConfigError takes them."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError


def faults(where: Path | str, error: ValidationError, whole: str) -> list[str]:
    """Where, key and rule of each fault; `whole` stands for the key where the fault is in none of them."""
    return [
        f"{where}: {'.'.join(map(str, fault['loc'])) or whole}: {rule(fault['type'], fault['msg'])}"
        for fault in error.errors(include_url=False)
    ]


def rule(kind: str, message: str) -> str:
    """The broken rule in plain words, from a fault's type and message."""
    return "unknown key" if kind == "extra_forbidden" else message.removeprefix("Value error, ")
