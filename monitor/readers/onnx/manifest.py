"""BundleManifest: manifest.json of a bundle, which says what the bundle holds and what it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from monitor.errors import ConfigError
from monitor.readers.onnx.graph import GraphShape
from monitor.readers.onnx.step import Heads

BUNDLE_FORMAT: Final = 2
"""Raised whenever the files of a bundle, or the numbers in them, change their meaning.

Format 1 had int8 weights that x86 without VNNI multiplies wrongly, see
docs/decisions/0009-int8-weights-bounded-in-pairs.md.
"""

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
    """Activations of latents that the graph puts out for a token."""
    probes: tuple[str, ...] = ()
    """SHA-256 of the probes whose projections follow them."""


class PrecisionCandidate(_Model):
    """What one precision measured on the machine that compiled the bundle, against fp32 on the same events.

    An event whose score comes within `margins` of a threshold is read again in fp32, and that decides.
    """

    precision: PrecisionName
    tokens_per_s: float
    """Of this graph only."""
    confirmed: float
    """Share of the events not labelled risky that are read again in fp32."""
    effective_tokens_per_s: float
    """Including what is read again."""
    raw_agreement: float
    """Share of events on which every set would decide as in fp32 if nothing were read again."""
    agreement: float
    """Share of events on which every set does decide as in fp32."""
    auroc_loss: dict[str, float]
    """By set: AUROC of fp32 minus that of this precision, on the labelled calibration events."""
    auroc_loss_at_least: dict[str, float]
    """The lower end of its 90 % bootstrap interval."""
    margins: dict[str, float]
    """By set: three standard deviations of the difference in score, in the units of Detector.distance."""
    residual_fvu: float
    """Fraction of variance unexplained of the residual stream, without tokens that have massive activations."""
    massive_tokens: int
    massive_residual_fvu: float | None
    """The same, only for the tokens with massive activations."""
    accepted: bool


class BundlePrecision(_Model):
    """The precision of the graph, and why it was chosen."""

    chosen: PrecisionName
    margins: dict[str, float]
    """By set id: how near a threshold an event is read again in fp32; see PrecisionCandidate. Empty for fp32."""
    asked: str
    """auto, or the precision that the user wanted."""
    events: int
    tokens: int
    candidates: tuple[PrecisionCandidate, ...]
    """From the fastest to the one that was chosen."""


class BundleManifest(_Model):
    """The content of manifest.json."""

    format: int
    """BUNDLE_FORMAT of the version that wrote it."""
    latentwatch: str
    """Version that wrote it."""
    machine: str
    model: BundleModel
    sae: BundleSae
    sets: dict[str, str]
    """By id: SHA-256 of the feature sets that the precision was measured with."""
    precision: BundlePrecision
    self_test_tolerance: float
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
        """The graph's numbers of `columns`: latents, and probes by their hashes, whose numbers follow all latents.

        Raises ConfigError for a probe that is not in the graph.
        """
        missing = [name for name in columns if isinstance(name, str) and name not in self.sae.probes]
        if missing:
            raise ConfigError(f"the compiled graph lacks probe {missing[0]}; compile it again for these feature sets")
        return [self.sae.width + self.sae.probes.index(name) if isinstance(name, str) else name for name in columns]

    def all_slots(self) -> list[int]:
        """The graph's numbers of everything that it can put out."""
        latents = range(self.sae.width) if self.sae.latents is None else self.sae.latents
        return self.slots_of([*latents, *self.sae.probes])

    def shape(self) -> GraphShape:
        """What the reader has to know about the graph."""
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
