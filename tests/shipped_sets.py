"""Copies of shipped sets, to be changed by tests."""

from __future__ import annotations

import shutil
from pathlib import Path

from monitor.sets.load import LoadedSet, builtin_folder, load_feature_set


def shipped_set(set_id: str) -> LoadedSet:
    """A set as it ships."""
    return load_feature_set(next(builtin_folder().rglob(f"{set_id}.yaml")))


def copy_set(set_id: str, folder: Path) -> Path:
    """Copies the files of a shipped set into `folder`, with the SAE where it was, and returns the YAML file."""
    shipped = shipped_set(set_id)
    folder.mkdir(parents=True, exist_ok=True)
    home = shipped.path.parent
    for name in (f"{set_id}.yaml", f"{set_id}.safetensors", f"{set_id}.metrics.json", "latents.json"):
        shutil.copyfile(home / name, folder / name)
    reader = (home / "reader.yaml").read_text()
    (folder / "reader.yaml").write_text(reader.replace("path: sae\n", f"path: {shipped.sae_folder}\n"))
    return folder / f"{set_id}.yaml"
