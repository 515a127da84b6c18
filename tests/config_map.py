"""ConfigMapFolder: a folder as Kubernetes mounts a ConfigMap, whose files all change at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class ConfigMapFolder:
    """Files are links through the hidden link ..data, which is renamed over to show another version."""

    def __init__(self, path: Path, files: Mapping[str, str]) -> None:
        self.path = path
        self._versions = 0
        path.mkdir(parents=True)
        self.swap(files)

    def swap(self, files: Mapping[str, str]) -> None:
        """Shows these files from now on, and no others."""
        self._versions += 1
        version = self.path / f"..2026_11_30_13_00_00.{self._versions}"
        version.mkdir()
        for name, text in files.items():
            (version / name).write_text(text)
        before = (self.path / "..data").resolve()
        (self.path / "..data_tmp").symlink_to(version.name)
        (self.path / "..data_tmp").rename(self.path / "..data")
        for name in files:
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")
        for link in self.path.glob("*"):
            if not link.exists():
                link.unlink()
        if self._versions > 1:
            for old in before.iterdir():
                old.unlink()
            before.rmdir()
