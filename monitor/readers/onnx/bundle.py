"""Bundle: a folder written by `latentwatch compile`: a model up to its hook and an SAE, for any feature sets."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from monitor.errors import ConfigError
from monitor.machine import usable_cores
from monitor.model.files import ModelFiles, file_sha256
from monitor.readers.onnx.columns import Columns
from monitor.readers.onnx.embeddings import Embeddings, EmbeddingTable
from monitor.readers.onnx.hook_columns import HookColumns
from monitor.readers.onnx.manifest import BundleManifest, PrecisionName
from monitor.readers.onnx.reader import OnnxReader
from monitor.readers.reference import ReferenceActivations
from monitor.readers.tensor_file import load_tensors
from monitor.yaml_file import faults

MANIFEST = "manifest.json"
GRAPHS: dict[PrecisionName, str] = {"fp32": "fp32.onnx", "int8": "int8.onnx"}
SAE = "sae.safetensors"
ROTATION = "rotation.npy"  # only if the residual stream is rotated
PREFIXES = "prefixes.safetensors"
REFERENCES: dict[PrecisionName, str] = {"fp32": "reference_fp32.safetensors", "int8": "reference_int8.safetensors"}
# How far the same graph may differ on another processor. fp32 sums in another order; int8 then sometimes rounds the
# other way. A wrong result (such as another weight) is far beyond both.
TOLERANCES: dict[PrecisionName, float] = {"fp32": 1e-3, "int8": 0.05}
FLIPS = 0.01
"""Share of the active latents that may be active in only one of the two."""


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files are what the manifest says."""

    folder: Path
    manifest: BundleManifest
    lease: object = field(default=None, repr=False, compare=False)
    """Keeps the folder from being removed, as long as this object or a reader of it exists."""

    @property
    def files(self) -> ModelFiles:
        """Tokenizer and chat template, laid out as in a model's folder."""
        return ModelFiles(self.folder, self.manifest.model.sha256)

    def sae_file(self, hook: int = 0) -> Path:
        """The encoder of the SAE at a hook point, with all its latents."""
        return self.folder / numbered(SAE, hook)

    @cached_property
    def turn(self) -> NDArray[np.float32] | None:
        """The rotation of the residual stream [d_model, d_model], or None."""
        path = self.folder / ROTATION
        return np.load(path, allow_pickle=False) if path.is_file() else None

    @cached_property
    def embeddings(self) -> Embeddings:
        """What the graphs take, the same object for all readers of this bundle."""
        return Embeddings(EmbeddingTable.load(self.folder), self.manifest.model.embedding_scale, self.turn)

    def open(self, precision: PrecisionName, columns: Columns, **options: Any) -> OnnxReader:
        """A reader that has read the shared prefixes; `options` are those of OnnxReader. Raises ConfigError."""
        graph, shape = self.folder / GRAPHS[precision], self.manifest.shape()
        reader = OnnxReader(graph, shape, self.embeddings, columns, lease=self.lease, **options)
        for prefix in load_prefixes(self.folder / PREFIXES):
            reader.preload(*prefix)
        return reader

    def reference(self, precision: PrecisionName, hook: int = 0) -> ReferenceActivations:
        """What the graph found in a few texts when it was compiled, of all latents of a hook point's SAE.

        Raises ConfigError. The texts are the same at all hook points.
        """
        return ReferenceActivations.load(self.folder / numbered(REFERENCES[precision], hook))

    def check(
        self,
        precision: PrecisionName,
        latents: Sequence[int],
        found: Sequence[NDArray[np.float32]],
        further: Sequence[HookColumns] = (),
    ) -> None:
        """Raises ConfigError if `found`, the activations of the reference's texts now, differ from the reference.

        The first columns are `latents` of the deepest hook point, the last are those of the hook points `further`.
        Products in int8 are exact everywhere; only float32 sums in another order may differ.
        """
        self._check(precision, 0, latents, found, None)
        start = -sum(columns.width for columns in further)
        for hook, columns in enumerate(further, start=1):
            if columns.latents:
                self._check(precision, hook, columns.latents, found, start)
            start += columns.width

    def _check(
        self,
        precision: PrecisionName,
        hook: int,
        latents: Sequence[int],
        found: Sequence[NDArray[np.float32]],
        start: int | None,
    ) -> None:
        """The check of one hook point, whose columns begin at `start`."""
        reference = self.reference(precision, hook)
        difference = reference.difference(latents, lambda _: (text[:, start:] for text in found), FLIPS)
        if not difference <= TOLERANCES[precision]:
            where = "" if hook == 0 else f" at layer {self.manifest.further[hook - 1].layer}"
            raise ConfigError(
                f"{self.folder}: self-test in {precision}{where}: activations of the reference texts differ by "
                f"{difference:.3g} of their norm, more than {TOLERANCES[precision]:g}; the bundle does not work on "
                "this processor or was changed: compile it here, with latentwatch compile"
            )


def numbered(name: str, hook: int) -> str:
    """The name of a file that each hook point has; the deepest has the plain name."""
    stem, _, ending = name.partition(".")
    return f"{stem}.{hook}.{ending}" if hook else name


def load_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`. Raises ConfigError with every file that is missing or was changed."""
    path = folder / MANIFEST
    try:
        manifest = BundleManifest.model_validate_json(path.read_bytes())
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from None
    except ValidationError as e:
        raise ConfigError(faults(path, e, "manifest")) from None
    with ThreadPoolExecutor(usable_cores()) as pool:  # hashing takes most of the time, and lets other threads run
        problems = [p for p in pool.map(lambda file: _problem(folder, *file), manifest.files.items()) if p]
    if problems:
        raise ConfigError(problems)
    return Bundle(folder, manifest)


def _problem(folder: Path, name: str, sha256: str) -> str:
    """What is wrong with one file of the manifest; empty if nothing is."""
    if Path(name).name != name:
        return f"{folder / MANIFEST}: files: {name!r} is not the name of a file in the bundle"
    if not (folder / name).is_file():
        return f"{folder / name}: missing"
    if file_sha256(folder / name) != sha256:
        return f"{folder / name}: was changed after the bundle was compiled"
    return ""


def load_prefixes(path: Path) -> list[tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]]:
    """Tokens [token], keys and values [layer, token, kv width] of the shared prefixes, read in float32."""
    tensors = load_tensors(path)
    count = sum(name.startswith("tokens.") for name in tensors)
    return [(tensors[f"tokens.{n}"], tensors[f"keys.{n}"], tensors[f"values.{n}"]) for n in range(count)]
