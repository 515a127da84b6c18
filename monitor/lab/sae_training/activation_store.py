"""ActivationStore: a folder of residual activations in safetensors shards, described by a manifest.

Layout: manifest.json, train-00000.safetensors, ..., held_out-00000.safetensors, ... A shard holds `layer_N` [token, d]
for each layer, and the rows that they were read from: `ids`, `positions`, `documents` (int32) and `kept` (bool), all
[row, context]. The tokens of `layer_N` are those for which `kept` is true, in order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from monitor.errors import ConfigError, Permanent
from monitor.lab.sae_training.packed_reader import Residuals
from monitor.lab.sae_training.packing import PackedRow
from monitor.lab.sae_training.row_stream import Split
from monitor.model.files import file_sha256
from monitor.readers.cut_model import TorchPrecision
from monitor.yaml_file import faults

_MANIFEST = "manifest.json"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceHash(_Model):
    """The name of a source of text and the hash of its content."""

    name: str
    sha256: str


class StoreRecipe(_Model):
    """Everything that decides what a store holds. A run continues only if all of it is the same."""

    format: int = 1
    model: str
    model_sha256: str
    hook: str = "resid_post"
    layers: tuple[int, ...]
    precision: TorchPrecision
    context: int
    chat: bool
    max_norm: float | None
    seed: int
    held_out: float
    tokens: int | None
    rows_per_shard: int
    sources: tuple[SourceHash, ...]


class ActivationShard(_Model):
    """A finished shard. `massive` is the number of tokens skipped because of their norm."""

    file: str
    split: Split
    index: int
    rows: int
    tokens: int
    massive: int
    sha256: str


class StoreManifest(_Model):
    """What a store holds and how far it is."""

    recipe: StoreRecipe
    shards: tuple[ActivationShard, ...] = ()
    complete: bool = False
    unreadable: dict[str, int] = {}
    """Number of rows or files of each source without text."""

    def of(self, split: Split) -> list[ActivationShard]:
        """The shards of one split, in order."""
        return sorted((s for s in self.shards if s.split == split), key=lambda s: s.index)

    def tokens(self, split: Split) -> int:
        """Number of stored tokens of one split."""
        return sum(shard.tokens for shard in self.of(split))


class ActivationStore:
    """Reads and extends a store. A shard counts only once the manifest names it."""

    def __init__(self, folder: Path, manifest: StoreManifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, folder: Path) -> ActivationStore:
        """An existing store. Raises ConfigError if there is none or a shard is missing."""
        path = folder / _MANIFEST
        try:
            manifest = StoreManifest.model_validate_json(path.read_text())
        except OSError as e:
            raise ConfigError(
                f"{path}: cannot be read: {e.strerror}; run `latentwatch lab collect` to make a store"
            ) from None
        except ValidationError as e:
            raise ConfigError(faults(path, e, "manifest")) from None
        if missing := [s.file for s in manifest.shards if not (folder / s.file).is_file()]:
            raise ConfigError(f"{folder / missing[0]}: missing, although the manifest names it")
        return cls(folder, manifest)

    @classmethod
    def create_or_resume(cls, folder: Path, recipe: StoreRecipe) -> ActivationStore:
        """The store of `recipe` in `folder`, new or continued. Raises ConfigError if `folder` holds anything else."""
        if (folder / _MANIFEST).is_file():
            store = cls.open(folder)
            old, new = store.manifest.recipe.model_dump(), recipe.model_dump()
            if different := [key for key in new if old[key] != new[key]]:
                raise ConfigError(
                    f"{folder}: holds activations of another run (different: {', '.join(different)}); "
                    "give the same options and sources to continue it, or another --out"
                )
        else:
            if folder.is_dir() and any(folder.iterdir()):
                raise ConfigError(f"{folder}: not empty, but without a {_MANIFEST}; give another --out")
            folder.mkdir(parents=True, exist_ok=True)
            store = cls(folder, StoreManifest(recipe=recipe))
            store._save()
        for part in folder.glob("*.part"):
            part.unlink()
        return store

    def has(self, split: Split, index: int) -> bool:
        """Whether that shard is finished."""
        return any(s.split == split and s.index == index for s in self.manifest.shards)

    def add(self, split: Split, index: int, rows: list[PackedRow], found: Residuals) -> ActivationShard:
        """Writes one shard, then names it in the manifest.

        Raises Permanent if the values overflow the stored precision, or if --max-norm excludes most tokens.
        """
        counted = int(found.kept.sum())
        if found.massive > counted:
            raise Permanent(
                f"{found.massive} of {found.massive + counted} tokens have a longer residual than "
                f"--max-norm {self.manifest.recipe.max_norm:g}, which is too low for this model; give a larger one"
            )
        dtype = torch.bfloat16 if self.manifest.recipe.precision == "bfloat16" else torch.float16
        tensors = {f"layer_{layer}": residual.to(dtype).contiguous() for layer, residual in found.by_layer.items()}
        if not all(bool(torch.isfinite(t).all()) for t in tensors.values()):
            raise Permanent(f"a residual overflows {str(dtype).removeprefix('torch.')}; use --dtype bfloat16")
        for name in ("ids", "positions", "documents"):
            tensors[name] = torch.from_numpy(np.stack([getattr(row, name) for row in rows]))
        tensors["kept"] = found.kept
        path = self.folder / f"{split}-{index:05d}.safetensors"
        part = path.with_suffix(".part")
        save_file(tensors, part)
        _sync(part)
        part.replace(path)
        shard = ActivationShard(
            file=path.name,
            split=split,
            index=index,
            rows=len(rows),
            tokens=counted,
            massive=found.massive,
            sha256=file_sha256(path),
        )
        self._update(shards=(*self.manifest.shards, shard))
        return shard

    def finish(self, unreadable: dict[str, int]) -> None:
        """Marks the store as complete."""
        self._update(complete=True, unreadable=unreadable)

    def activations(self, shard: ActivationShard, layer: int) -> Tensor:
        """Residuals [token, d] of one shard, as stored. Raises ConfigError if they can't be read."""
        return self._tensors(shard, (f"layer_{layer}",))[0]

    def rows(self, shard: ActivationShard) -> Iterator[PackedRow]:
        """The rows that a shard was read from. `kept` excludes tokens skipped because of their norm."""
        arrays = [t.numpy() for t in self._tensors(shard, ("ids", "positions", "documents", "kept"))]
        for ids, positions, documents, kept in zip(*arrays, strict=True):
            yield PackedRow(ids, positions, documents, kept)

    def _tensors(self, shard: ActivationShard, names: tuple[str, ...]) -> list[Tensor]:
        path = self.folder / shard.file
        try:
            with safe_open(path, framework="pt") as file:
                return [file.get_tensor(name) for name in names]
        except (OSError, SafetensorError) as e:
            raise ConfigError(f"{path}: not readable: {e}") from None

    def _update(self, **changes: Any) -> None:
        self.manifest = self.manifest.model_copy(update=changes)
        self._save()

    def _save(self) -> None:
        path = self.folder / _MANIFEST
        part = path.with_suffix(".part")
        part.write_text(json.dumps(self.manifest.model_dump(mode="json"), indent=1) + "\n")
        _sync(part)
        part.replace(path)


def _sync(path: Path) -> None:
    """Makes sure that the bytes are on disk before a name points to them."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
