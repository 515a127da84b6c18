"""Readers of a bundle with the columns that the feature sets need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitor.compiler.encoder_inputs import encoder_columns
from monitor.readers.onnx.bundle import Bundle
from monitor.readers.onnx.columns import OutputColumns
from monitor.readers.onnx.manifest import PrecisionName
from monitor.readers.onnx.reader import OnnxReader
from monitor.sae.storage import load_stored_sae
from monitor.sets.probe import Probe


def open_reader(
    bundle: Bundle, precision: PrecisionName, latents: Sequence[int], probes: Sequence[Probe] = (), **options: Any
) -> OnnxReader:
    """A reader whose columns are `latents` of the SAE, followed by `probes`; `options` are those of OnnxReader.

    Its activations are not compared with anything. Raises ConfigError if it does not load.
    """
    return bundle.open(precision, bundle_columns(bundle, precision, latents, probes), **options)


def bundle_columns(
    bundle: Bundle, precision: PrecisionName, latents: Sequence[int], probes: Sequence[Probe]
) -> OutputColumns:
    """What to feed a graph of the bundle for these columns. Raises ConfigError if the SAE lacks a latent."""
    topk = bundle.manifest.sae.architecture == "topk"  # all its latents decide which are active
    return encoder_columns(
        load_stored_sae(bundle.sae_file, None if topk else latents),
        probes,
        folded=bundle.manifest.sae.activation_basis == "decoder_norm_folded",
        turn=bundle.turn,
        precision=precision,
        latents=latents,
    )
