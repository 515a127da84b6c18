"""Compiles artefacts into bundles, and keeps those that a sidecar compiles for itself in the cache."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import monitor
from monitor.assembly.artefacts import ModelArtefacts
from monitor.assembly.engine import assemble_engine
from monitor.assembly.tokeniser import build_tokeniser
from monitor.compiler.calibration_events import CalibrationEvent, load_calibration_events
from monitor.compiler.compile import CompileInputs, PrecisionChoice, compile_bundle
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.machine import machine
from monitor.model.files import default_cache, file_sha256
from monitor.readers.onnx.bundle import TEXT_FILES, Bundle, load_bundle
from monitor.readers.onnx.manifest import BUNDLE_FORMAT
from monitor.readers.onnx.reader import OnnxReader

CACHED_CALIBRATION_EVENTS = 400
"""Events on which a sidecar that compiles for itself compares precisions; somebody waits for it."""
_CACHED_BUNDLES = 3


def cached_bundle(config: Config, artefacts: ModelArtefacts, progress: Callable[[str], None]) -> Bundle:
    """The bundle of these artefacts in the cache. Compiles it if it is not there."""
    folder = cached_folder(config, artefacts)
    if not folder.exists():
        progress(f"compiling the reader, once, into {folder}")
        events = load_calibration_events(limit=CACHED_CALIBRATION_EVENTS)
        try:
            bundle = compile_artefacts(config, artefacts, folder, config.reader.precision, events, progress)
        except ConfigError:
            if not folder.exists():
                raise
            bundle = load_bundle(folder)  # another process was faster; its result is the same
    else:
        bundle = load_bundle(folder)
    folder.touch()
    _remove_old(folder.parent)
    return bundle


def cached_folder(config: Config, artefacts: ModelArtefacts) -> Path:
    """The folder in the cache for the bundle of these artefacts, whether or not it is there yet."""
    return (config.reader.cache_dir or default_cache()) / "bundles" / _identity(config, artefacts)


def compile_artefacts(
    config: Config,
    artefacts: ModelArtefacts,
    out: Path,
    precision: PrecisionChoice,
    events: Sequence[CalibrationEvent],
    progress: Callable[[str], None],
) -> Bundle:
    """Compiles the model and the SAE of `artefacts` into the bundle `out`; see compile_bundle."""
    tokeniser = build_tokeniser(config, artefacts.model)
    reference = artefacts.reference_check()
    if reference is not None:
        reference.tokens(tokeniser)

    def scores(reader: OnnxReader, calibration: Sequence[CalibrationEvent]) -> NDArray[np.float64]:
        found = assemble_engine(config, artefacts, tokeniser, reader).scores([c.event for c in calibration])
        return np.array(
            [[math.nan if (s := of[n.set.id]) is None else s.value for n in artefacts.sets] for of in found]
        )

    inputs = CompileInputs(
        model=artefacts.model,
        sae=artefacts.sae,
        ref=artefacts.ref,
        latents=artefacts.latents,
        probes=artefacts.probes,
        sets=artefacts.sets,
        tokeniser=tokeniser,
        events=events,
        scores=scores,
        reference=reference,
        precision=precision,
        threads=config.reader.threads,
        progress=progress,
    )
    return compile_bundle(inputs, out)


def _remove_old(bundles: Path) -> None:
    """Every change of a set makes another bundle. A process that reads an old one keeps its files open."""
    newest_first = sorted((f for f in bundles.iterdir() if f.is_dir()), key=lambda f: -f.stat().st_mtime)
    for folder in newest_first[_CACHED_BUNDLES:]:
        shutil.rmtree(folder, ignore_errors=True)


def _identity(config: Config, artefacts: ModelArtefacts) -> str:
    """A name for a cached bundle, from everything that it is made of."""
    model = artefacts.model
    texts = [path for name in TEXT_FILES if (path := model.folder / name).is_file()]
    if config.reader.chat_template is not None and config.reader.chat_template.is_file():
        texts.append(config.reader.chat_template)  # the shared prefixes in the bundle come from that template
    parts = [
        BUNDLE_FORMAT,
        monitor.__version__,
        machine(),  # another processor may round differently, and be fast at other things
        artefacts.ref.model_dump_json(),
        None if artefacts.sae.architecture == "topk" else artefacts.latents,  # a TopK graph has all latents
        [probe.sha256 for probe in artefacts.probes],
        config.reader.precision,
        # precisions are compared by what the sets decide
        [] if config.reader.precision == "fp32" else [loaded.sha256 for loaded in artefacts.sets],
        [file_sha256(path) for path in texts],
    ]
    return f"{model.folder.name}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"
