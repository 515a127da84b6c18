"""Reads the image's lock files, deploy/requirements/*.txt."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.deploy.manifest import REPOSITORY

LOCKED = REPOSITORY / "deploy/requirements"


@dataclass(frozen=True)
class LockedPackage:
    """One package of a lock file."""

    version: str
    hashes: tuple[str, ...]


def locked_packages(name: str) -> dict[str, LockedPackage]:
    """The packages of a lock file by name."""
    text = re.sub(r"#.*", "", (LOCKED / name).read_text()).replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if line.strip():
            package, version = re.match(r"([a-z0-9-]+)==(\S+)", line).groups()  # type: ignore[union-attr]
            found[package] = LockedPackage(version, tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", line)))
    return found


def locked(name: str) -> dict[str, str]:
    """The versions of a lock file by name."""
    return {package: found.version for package, found in locked_packages(name).items()}
