"""Compiles artefacts into bundles, and keeps those that a sidecar compiles for itself in the cache."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

from monitor.assembly.artefacts import ModelArtefacts
from monitor.assembly.cache_folder import CacheFolder
from monitor.assembly.tokeniser import build_tokeniser
from monitor.compiler.calibration_events import load_calibration_events
from monitor.compiler.compile import REFERENCE_TEXTS, CompileHook, CompileInputs, compile_bundle
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.model.files import CONFIG_FILE, ModelFiles, default_cache, file_sha256
from monitor.readers.onnx.bundle import Bundle, load_bundle
from monitor.readers.onnx.manifest import BUNDLE_FORMAT

log = logging.getLogger(__name__)


def cached_bundle(config: Config, artefacts: ModelArtefacts, progress: Callable[[str], None]) -> Bundle:
    """The bundle of these artefacts in the cache. Compiles it if it is not there or is damaged.

    Only one process compiles at a time; others wait for it. The bundle stays in the cache as long as it is in use.
    """
    folder = cached_folder(config, artefacts)
    cache = CacheFolder(folder.parent)
    found = _leased(cache, folder)
    if found is not None:
        return found
    try:
        with cache.writing(lambda: progress("waiting for another process that compiles a reader")):
            found = _leased(cache, folder)  # what that process made
            if found is None:
                cache.remove(folder)
                progress(f"compiling the reader, once, into {folder}")
                compile_artefacts(config, artefacts, folder, progress)
                found = _leased(cache, folder)
            cache.evict(keep=folder)
    except OSError as e:
        raise ConfigError(
            f"reader.cache_dir: {folder.parent}: {e.strerror or e}; a compiled reader takes about one to three times "
            "the size of the model's file: set reader.cache_dir to a folder with room that can be written, or "
            "reader.bundle to a bundle that latentwatch compile made"
        ) from None
    if found is None:
        raise ConfigError(f"{folder}: was removed while it was being made; start again")
    return found


def cached_folder(config: Config, artefacts: ModelArtefacts) -> Path:
    """The folder in the cache for the bundle of these artefacts, whether or not it is there yet."""
    return bundles_folder(config.reader.cache_dir) / _identity(config, artefacts)


def bundles_folder(cache_dir: Path | None) -> Path:
    """Where the cache keeps bundles."""
    return (cache_dir or default_cache()) / "bundles"


def compile_artefacts(
    config: Config, artefacts: ModelArtefacts, out: Path, progress: Callable[[str], None] = lambda _: None
) -> Bundle:
    """Compiles the model and the SAE of `artefacts` into the bundle `out`; see compile_bundle."""
    # what usual traffic looks like, rather than what a set alerts on
    labelled = load_calibration_events(limit=4 * REFERENCE_TEXTS, lines_per_file=REFERENCE_TEXTS)
    events = [e.event for e in labelled if e.label != 1]
    checks = [check for check, _ in artefacts.reference_checks().checks]
    refs = [point.ref for point in artefacts.points]
    further = tuple(map(CompileHook, refs[1:], artefacts.further_saes, checks[1:]))
    inputs = CompileInputs(
        model=artefacts.original,
        sae=artefacts.sae,
        ref=artefacts.ref,
        tokeniser=lambda files: build_tokeniser(config, files),
        events=events,
        reference=checks[0],
        further=further,
        threads=config.reader.threads,
        progress=progress,
    )
    return compile_bundle(inputs, out)


def _leased(cache: CacheFolder, folder: Path) -> Bundle | None:
    """The bundle in `folder`, kept from being removed; None if it is not there or damaged."""
    lease = cache.lease(folder)
    if lease is None:
        return None
    try:
        bundle = load_bundle(folder)
    except ConfigError as e:
        lease.close()
        log.warning("the cached bundle is damaged and is compiled again: %s", e)
        return None
    return Bundle(bundle.folder, bundle.manifest, lease)


def _identity(config: Config, artefacts: ModelArtefacts) -> str:
    """A name for a cached bundle, from everything that it is made of."""
    model, ref = artefacts.original, artefacts.ref
    # the text files of a GGUF are in the file itself
    texts = [*model.texts(), model.folder / CONFIG_FILE] if isinstance(model, ModelFiles) else []
    if config.reader.chat_template is not None and config.reader.chat_template.is_file():
        texts.append(config.reader.chat_template)  # the shared prefixes in the bundle come from that template
    parts = [
        BUNDLE_FORMAT,
        ref.model_sha256,
        ref.layer,
        ref.max_norm,
        ref.sae.sha256,
        ref.sae.activation_basis,
        [file_sha256(path) for path in texts],
    ]
    if ref.hook != "resid_post":  # the usual one keeps the names that bundles have
        parts.append(ref.hook)
    for point in artefacts.points[1:]:
        parts += [point.ref.layer, point.ref.hook, point.ref.max_norm, point.ref.sae.sha256]
        parts.append(point.ref.sae.activation_basis)
    return f"{model.name}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"
