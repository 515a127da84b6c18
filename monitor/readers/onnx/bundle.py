"""Bundle: a folder written by `latentwatch compile`, with everything that reading needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from monitor.errors import ConfigError
from monitor.model.files import ModelFiles, file_sha256
from monitor.readers.onnx.manifest import BundleManifest
from monitor.readers.onnx.reader import OnnxReader
from monitor.readers.reference import ReferenceActivations
from monitor.readers.tensor_file import load_tensors
from monitor.yaml_file import faults

MANIFEST = "manifest.json"
GRAPH = "reader.onnx"
EXACT_GRAPH = "exact.onnx"  # in float32; only if the other one is not
EMBEDDINGS = "embeddings.npy"
PREFIXES = "prefixes.safetensors"
SELF_TEST = "self_test.safetensors"
EXACT_SELF_TEST = "exact_self_test.safetensors"
# How far float32 sums may differ on another processor, which adds in another order
EXACT_TOLERANCE = 1e-3
# Copied from the model's folder, if they exist there
TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files are what the manifest says."""

    folder: Path
    manifest: BundleManifest

    @property
    def files(self) -> ModelFiles:
        """Tokenizer and chat template, laid out as in a model's folder."""
        return ModelFiles(self.folder, self.manifest.model.sha256)

    def reader(self, columns: Sequence[int | str], **options: Any) -> OnnxReader:
        """A reader with these columns (latents, and probes by their hashes), after a self-test.

        `options` are those of OnnxReader.

        Raises ConfigError if it does not load, or if the activations of the self-test's texts are not those of the
        machine that compiled. Products in int8 are exact everywhere; only float32 sums in another order may differ.
        """
        return self._tested(GRAPH, SELF_TEST, self.manifest.self_test_tolerance, columns, options)

    def exact_reader(self, columns: Sequence[int | str], **options: Any) -> OnnxReader | None:
        """The float32 reader for events near a threshold, or None if `reader` is in float32 itself."""
        if self.manifest.precision.chosen == "fp32":
            return None
        return self._tested(EXACT_GRAPH, EXACT_SELF_TEST, EXACT_TOLERANCE, columns, options)

    def _tested(
        self, graph: str, self_test: str, tolerance: float, columns: Sequence[int | str], options: dict[str, Any]
    ) -> OnnxReader:
        slots = self.manifest.slots_of(columns)
        embeddings = np.load(self.folder / EMBEDDINGS, mmap_mode="r", allow_pickle=False)
        reader = OnnxReader(self.folder / graph, self.manifest.shape(), embeddings, slots, **options)
        for prefix in load_prefixes(self.folder / PREFIXES):
            reader.preload(*prefix)
        difference = ReferenceActivations.load(self.folder / self_test).difference(slots, reader.read_uncached)
        if not difference <= tolerance:
            raise ConfigError(
                f"{self.folder}: self-test: activations of the reference texts differ by {difference:.3g} of their "
                f"norm, more than {tolerance:g}; compile the bundle on this kind of machine, or with --precision fp32"
            )
        return reader


def load_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`. Raises ConfigError with every file that is missing or was changed."""
    path = folder / MANIFEST
    try:
        manifest = BundleManifest.model_validate_json(path.read_bytes())
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from None
    except ValidationError as e:
        raise ConfigError(faults(path, e, "manifest")) from None
    problems = []
    for name, sha256 in manifest.files.items():
        if Path(name).name != name:
            problems.append(f"{path}: files: {name!r} is not the name of a file in the bundle")
        elif not (folder / name).is_file():
            problems.append(f"{folder / name}: missing")
        elif file_sha256(folder / name) != sha256:
            problems.append(f"{folder / name}: was changed after the bundle was compiled")
    if problems:
        raise ConfigError(problems)
    return Bundle(folder, manifest)


def load_prefixes(path: Path) -> list[tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]]:
    """Tokens [token], keys and values [layer, token, kv width] of the shared prefixes, read in float32."""
    tensors = load_tensors(path)
    count = sum(name.startswith("tokens.") for name in tensors)
    return [(tensors[f"tokens.{n}"], tensors[f"keys.{n}"], tensors[f"values.{n}"]) for n in range(count)]
