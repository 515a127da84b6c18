"""Bundle: a folder that `latentwatch compile` wrote, with all that reading takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from monitor.errors import ConfigError
from monitor.model.files import ModelFiles, file_sha256
from monitor.readers.onnx.golden import Golden, load_tensors
from monitor.readers.onnx.reader import GraphShape, OnnxReader
from monitor.readers.onnx.step import Heads
from monitor.yaml_file import faults

MANIFEST = "manifest.json"
GRAPH = "reader.onnx"
EXACT_GRAPH = "exact.onnx"  # in float32; only where the other one rounds
EMBEDDINGS = "embeddings.npy"
STARTS = "starts.safetensors"
GOLDEN = "golden.safetensors"
EXACT_GOLDEN = "exact_golden.safetensors"
# What float32 sums may differ by on another processor, which adds in another order
EXACT_TOLERANCE = 1e-3
# Copied from the model's folder, where they are
TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")

BUNDLE_FORMAT = 2
"""Raised when the files of a bundle, or the numbers in them, change their meaning. Format 1 had int8 weights that x86
without VNNI multiplies wrongly (docs/decisions/0009-int8-weights-bounded-in-pairs.md)."""

PrecisionName = Literal["fp32", "int8"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BundleModel(_Model):
    """The model that the graph was written from, cut after block `layer`."""

    sha256: str
    model_type: str
    layer: int
    d_model: int
    heads: int
    kv_heads: int
    head_dim: int
    windows: tuple[int, ...]
    """The different attention windows of its layers."""
    max_tokens: int


class BundleSae(_Model):
    """The SAE whose encoder is in the graph."""

    sha256: str
    architecture: str
    width: int
    activation_basis: Literal["raw", "decoder_norm_folded"]
    max_norm: float | None
    latents: tuple[int, ...] | None
    """The latents that are in the graph; None = all."""
    slots: int
    """Activations of latents that the graph hands out for a token."""
    probes: tuple[str, ...] = ()
    """SHA-256 of the probes whose projections it hands out behind them."""


class Candidate(_Model):
    """What was measured of one precision on the machine that compiled the bundle, against fp32 on the same events.

    An event whose score comes within `margins` of a threshold is read again in fp32, and that decides.
    """

    precision: PrecisionName
    tokens_per_s: float
    """Of the graph alone."""
    read_again: float
    """Share of the events not labelled risky that are read again."""
    effective_tokens_per_s: float
    """With what is read again."""
    raw_agreement: float
    """Share of events on which every set would decide as in fp32 if nothing were read again."""
    agreement: float
    """Share of events on which every set does decide as in fp32."""
    auroc_loss: dict[str, float]
    """By set: AUROC of fp32 minus that of this precision, on the calibration events that are labelled."""
    auroc_loss_at_least: dict[str, float]
    """The lower end of the 90 % bootstrap interval of the same."""
    margins: dict[str, float]
    """By set: three standard deviations of the difference in score, in the units of Detector.distance."""
    residual_fvu: float
    """Fraction of variance unexplained of the residual stream, tokens with massive activations left out."""
    massive_tokens: int
    massive_residual_fvu: float | None
    """The same for the tokens with massive activations alone."""
    accepted: bool


class BundlePrecision(_Model):
    """Which arithmetic the graph has, and why."""

    chosen: PrecisionName
    margins: dict[str, float]
    """How near a threshold an event is read again in fp32, by set id; see Candidate. Empty for fp32 itself."""
    asked: str
    """auto, or the precision that the user wanted."""
    events: int
    tokens: int
    candidates: tuple[Candidate, ...]
    """From the fastest on, up to the one that was taken."""


class Manifest(_Model):
    """manifest.json: what is in a bundle, and of what it was made."""

    format: int
    """BUNDLE_FORMAT of the version that wrote it."""
    latentwatch: str
    """Version that wrote it."""
    machine: str
    model: BundleModel
    sae: BundleSae
    sets: dict[str, str]
    """SHA-256 of the feature sets, by id, that the precision was measured with."""
    precision: BundlePrecision
    golden_tolerance: float
    files: dict[str, str]
    """SHA-256 by file name."""

    @field_validator("format")
    @classmethod
    def _readable(cls, value: int) -> int:
        if value != BUNDLE_FORMAT:
            raise ValueError(
                f"is {value}, but this version of latentwatch reads {BUNDLE_FORMAT}; "
                "run latentwatch compile again to make a new bundle"
            )
        return value

    def slots_of(self, columns: Sequence[int | str]) -> list[int]:
        """The graph's numbers of latents and of probes, which come behind all latents and are named by their hashes.

        Raises ConfigError for a probe that is not in the graph.
        """
        missing = [name for name in columns if isinstance(name, str) and name not in self.sae.probes]
        if missing:
            raise ConfigError(f"the compiled graph lacks probe {missing[0]}; compile it again for these feature sets")
        return [self.sae.width + self.sae.probes.index(name) if isinstance(name, str) else name for name in columns]

    def shape(self) -> GraphShape:
        """What the reader has to know of the graph."""
        numbers = range(self.sae.width, self.sae.width + len(self.sae.probes))
        return GraphShape(
            layers=self.model.layer + 1,
            heads=Heads(self.model.heads, self.model.kv_heads, self.model.windows),
            head_dim=self.model.head_dim,
            max_tokens=self.model.max_tokens,
            width=self.sae.width + len(self.sae.probes),
            latents=None if self.sae.latents is None else (*self.sae.latents, *numbers),
            slots=self.sae.slots + len(self.sae.probes),
        )


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files are what the manifest says."""

    folder: Path
    manifest: Manifest

    @property
    def files(self) -> ModelFiles:
        """Tokenizer and chat template, laid out as in a model's folder."""
        return ModelFiles(self.folder, self.manifest.model.sha256)

    def reader(self, columns: Sequence[int | str], **options: Any) -> OnnxReader:
        """A reader with these columns (latents, and probes by their hashes), after a self-test.

        `options` are those of OnnxReader.

        Raises ConfigError if it does not load, or if the activations of the golden texts are not those of the machine
        that compiled. Products in int8 are exact everywhere, so only float32 sums in another order may differ.
        """
        return self._tested(GRAPH, GOLDEN, self.manifest.golden_tolerance, columns, options)

    def exact_reader(self, columns: Sequence[int | str], **options: Any) -> OnnxReader | None:
        """The reader in float32 for what comes near a threshold, or None where `reader` is exact itself."""
        if self.manifest.precision.chosen == "fp32":
            return None
        return self._tested(EXACT_GRAPH, EXACT_GOLDEN, EXACT_TOLERANCE, columns, options)

    def _tested(
        self, graph: str, golden: str, tolerance: float, columns: Sequence[int | str], options: dict[str, Any]
    ) -> OnnxReader:
        reader = self._load(graph, columns, options)
        difference = Golden.load(self.folder / golden).difference(reader)
        if not difference <= tolerance:
            raise ConfigError(
                f"{self.folder}: self-test: activations of the golden texts differ by {difference:.3g} of their size, "
                f"more than {tolerance:g}; compile the bundle on this kind of machine, or with --precision fp32"
            )
        return reader

    def _load(self, graph: str, columns: Sequence[int | str], options: dict[str, Any]) -> OnnxReader:
        embeddings = np.load(self.folder / EMBEDDINGS, mmap_mode="r", allow_pickle=False)
        slots = self.manifest.slots_of(columns)
        reader = OnnxReader(self.folder / graph, self.manifest.shape(), embeddings, slots, **options)
        for tokens, keys, values in load_starts(self.folder / STARTS):
            reader.preload(tokens, keys, values)
        return reader


def load_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`. Raises ConfigError with every file that is missing or was changed."""
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
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
            problems.append(f"{folder / name}: was changed since the bundle was compiled")
    if problems:
        raise ConfigError(problems)
    return Bundle(folder, manifest)


def load_starts(path: Path) -> list[tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]]:
    """Tokens [token], keys and values [layer, token, kv width] of the beginnings that were read in float32."""
    tensors = load_tensors(path)
    count = sum(name.startswith("tokens.") for name in tensors)
    return [(tensors[f"tokens.{n}"], tensors[f"keys.{n}"], tensors[f"values.{n}"]) for n in range(count)]
