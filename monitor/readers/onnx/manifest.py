"""BundleManifest: manifest.json of a bundle, which says what the bundle holds and what it was made from."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from detectors.feature_set import HookName
from monitor.readers.onnx.graph import GraphShape
from monitor.readers.onnx.step import Heads

BUNDLE_FORMAT: Final = 4
"""Raised whenever the files of a bundle, or the numbers in them, change their meaning.

Format 1 had int8 weights that x86 without VNNI multiplies wrongly, see
docs/decisions/0009-int8-weights-bounded-in-pairs.md. Formats 1 and 2 held the latents of some feature sets, see
docs/decisions/0010-one-bundle-for-all-sets.md. Format 3 held all weights of the fp32 graph in float32.
"""

PrecisionName = Literal["fp32", "int8"]
PRECISIONS: tuple[PrecisionName, ...] = ("fp32", "int8")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BundleModel(_Model):
    """The model that the graphs were written from, cut after the hook point in block `layer`."""

    sha256: str
    model_type: str
    layer: int
    hook: HookName = "resid_post"
    d_model: int
    heads: int
    kv_heads: int
    head_dim: int
    windows: tuple[int, ...]
    """The different attention windows of its layers."""
    max_tokens: int
    embedding_scale: float
    """What the embeddings are multiplied by."""
    four_bit: bool
    """Whether the fp32 graph has weights in 4 bits, because the model's file has."""


class BundleSae(_Model):
    """The SAE, all of whose latents are in the bundle."""

    sha256: str
    architecture: str
    width: int
    activation_basis: Literal["raw", "decoder_norm_folded"]
    max_norm: float | None


class FurtherHook(_Model):
    """A hook point before the one that the graphs end at, with its SAE."""

    layer: int
    hook: HookName = "resid_post"
    sae: BundleSae


class Verification(_Model):
    """How int8 with confirmation decides against fp32, measured by `latentwatch compile --verify`.

    An event whose score comes within `margins` of a threshold is read again in fp32, and that decides.
    """

    machine: str
    sets: dict[str, str]
    """By id: SHA-256 of the feature sets that were used."""
    events: int
    tokens: int
    confirmed: float
    """Share of the events not labelled risky that are read again in fp32."""
    raw_agreement: float
    """Share of events on which every set would decide as in fp32 if nothing were read again."""
    agreement: float
    """Share of events on which every set does decide as in fp32."""
    auroc_loss: dict[str, float]
    """By set: AUROC of fp32 minus that of int8 with confirmation, on the labelled events."""
    auroc_loss_at_least: dict[str, float]
    """The lower end of its 90 % bootstrap interval."""
    margins: dict[str, float]
    """By set: how near a threshold an event is read again, in the units of Scale.margin; measured on `machine`."""
    residual_fvu: float
    """Fraction of variance unexplained of the residual stream, without tokens that have massive activations."""
    massive_tokens: int
    massive_residual_fvu: float | None
    """The same, only for the tokens with massive activations."""
    accepted: bool
    """Whether int8 decides as fp32 does often enough. If not, `reader.precision: auto` reads in fp32."""


class BundleManifest(_Model):
    """The content of manifest.json."""

    format: int
    """BUNDLE_FORMAT of the version that wrote it."""
    latentwatch: str
    """Version that wrote it."""
    machine: str
    model: BundleModel
    sae: BundleSae
    further: tuple[FurtherHook, ...] = ()
    """Hook points after the one of `model` and `sae`, which is the deepest."""
    files: dict[str, str]
    """SHA-256 by file name."""
    verification: Verification | None = None

    @field_validator("format")
    @classmethod
    def _readable(cls, value: int) -> int:
        if value != BUNDLE_FORMAT:
            raise ValueError(
                f"is {value}, but this version of latentwatch reads {BUNDLE_FORMAT}; "
                "run latentwatch compile again to make a new bundle"
            )
        return value

    @property
    def saes(self) -> tuple[BundleSae, ...]:
        """The SAEs of all hook points, in their order."""
        return (self.sae, *(hook.sae for hook in self.further))

    def shape(self) -> GraphShape:
        """What the reader has to know about the graphs."""
        return GraphShape(
            layers=self.model.layer + 1,
            heads=Heads(self.model.heads, self.model.kv_heads, self.model.windows),
            head_dim=self.model.head_dim,
            max_tokens=self.model.max_tokens,
        )
