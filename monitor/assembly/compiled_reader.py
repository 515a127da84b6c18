"""Readers of a bundle with the columns that the feature sets need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitor.compiler.encoder_inputs import encoder_columns, hook_suffix
from monitor.readers.onnx.bundle import Bundle
from monitor.readers.onnx.columns import Columns, OutputColumns, join_columns
from monitor.readers.onnx.hook_columns import HookColumns
from monitor.readers.onnx.manifest import PrecisionName
from monitor.readers.onnx.reader import OnnxReader
from monitor.sae.storage import load_stored_sae
from monitor.sets.probe import Probe


def open_reader(
    bundle: Bundle,
    precision: PrecisionName,
    latents: Sequence[int],
    probes: Sequence[Probe] = (),
    further: Sequence[HookColumns] = (),
    **options: Any,
) -> OnnxReader:
    """A reader whose columns are `latents` of the SAE, then `probes`, then those of the hook points `further`.

    `options` are those of OnnxReader. Its activations are not compared with anything. Raises ConfigError if it does not
    load.
    """
    return bundle.open(precision, bundle_columns(bundle, precision, latents, probes, further), **options)


def bundle_columns(
    bundle: Bundle,
    precision: PrecisionName,
    latents: Sequence[int],
    probes: Sequence[Probe],
    further: Sequence[HookColumns] = (),
) -> Columns:
    """What to feed a graph of the bundle for these columns. Raises ConfigError if an SAE lacks a latent."""
    hooks = (HookColumns(tuple(latents), tuple(probes)), *further)
    return join_columns([_at_hook(bundle, precision, n, columns) for n, columns in enumerate(hooks)])


def _at_hook(bundle: Bundle, precision: PrecisionName, hook: int, columns: HookColumns) -> OutputColumns:
    sae = bundle.manifest.saes[hook]
    topk = sae.architecture == "topk"  # all its latents decide which are active
    return encoder_columns(
        load_stored_sae(bundle.sae_file(hook), None if topk else columns.latents),
        columns.probes,
        folded=sae.activation_basis == "decoder_norm_folded",
        turn=bundle.turn,
        precision=precision,
        latents=columns.latents,
        suffix=hook_suffix(hook),
    )
