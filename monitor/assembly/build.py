"""Builds the reader and the engine that a config asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitor.assembly.artefacts import Artefacts, ModelArtefacts
from monitor.assembly.bundle_cache import cached_bundle
from monitor.assembly.compiled_reader import open_reader
from monitor.assembly.engine import assemble_engine
from monitor.assembly.live_readers import CompiledLiveReaders, CompiledReaders, FixedReaders, LiveReaders
from monitor.assembly.memory_plan import MemoryPlan
from monitor.assembly.self_test import MIN_GAIN, compare, run_self_test
from monitor.assembly.tokeniser import build_tokeniser
from monitor.config.sections import Config
from monitor.engine import Engine
from monitor.errors import ConfigError
from monitor.machine import limits
from monitor.readers.onnx.bundle import Bundle
from monitor.readers.onnx.hook_columns import HookColumns
from monitor.readers.reference import read_texts
from monitor.sae.belonging import other_width
from monitor.tokens.tokeniser import EventTokeniser

if TYPE_CHECKING:
    from monitor.readers.torch_reader import TorchReader

log = logging.getLogger(__name__)

EXACT_CACHE = 0.25
"""The exact reader's share of the prefix cache's bytes, next to an int8 reader: it reads few of the events."""


@dataclass(frozen=True)
class LiveEngine:
    """An engine with what changes it while it runs."""

    engine: Engine
    readers: LiveReaders
    artefacts: Artefacts
    tokeniser: EventTokeniser


def build_engine(config: Config, artefacts: Artefacts, progress: Callable[[str], None] = lambda _: None) -> Engine:
    """The engine of the config, as `build_live_engine` builds it."""
    return build_live_engine(config, artefacts, progress).engine


def build_live_engine(
    config: Config, artefacts: Artefacts, progress: Callable[[str], None] = lambda _: None
) -> LiveEngine:
    """The engine of the config. Raises ConfigError if the model does not load or does not read as it should.

    `progress` is told each step that takes long: the onnx engine compiles a bundle if there is none yet.
    """
    checks = artefacts.reference_checks()
    if config.reader.engine == "torch":
        tokeniser = build_tokeniser(config, artefacts.model)
        checks.tokens(tokeniser)
        reader = build_torch_reader(config, artefacts.uncompiled("engine: torch"))
        tokeniser.limit(reader.vocabulary)
        _tell(tokeniser)
        engine = assemble_engine(config, artefacts, tokeniser, reader)
        return LiveEngine(engine, FixedReaders(artefacts.columns), artefacts, tokeniser)
    bundle = find_bundle(config, artefacts, progress)
    tokeniser = build_tokeniser(config, bundle.files)
    tokeniser.limit(bundle.embeddings.vocabulary)
    _tell(tokeniser)
    checks.tokens(tokeniser)
    plan = MemoryPlan.of(config, bundle, limits())
    log.info("%s", plan)
    if plan.problem is not None:
        log.warning("%s", plan.problem)
    progress(f"loading the compiled reader {bundle.folder}")
    readers = load_readers(plan.applied(config), bundle, artefacts)
    checks.activations(readers.in_float32.read_uncached)
    engine = assemble_engine(config, artefacts, tokeniser, readers.reader, readers.exact, readers.margins)
    return LiveEngine(engine, CompiledLiveReaders(bundle, readers, artefacts), artefacts, tokeniser)


def _tell(tokeniser: EventTokeniser) -> None:
    for note in tokeniser.notes:
        log.warning("%s", note)


def load_readers(config: Config, bundle: Bundle, artefacts: Artefacts) -> CompiledReaders:
    """The readers of a bundle in the precision of the config, after a self-test on this machine.

    `auto` takes int8 with confirmation in fp32 if that is right here and reads more tokens a second than fp32 does.
    Raises ConfigError if a graph is not right here that is needed.
    """
    latents, probes, further = artefacts.latents, artefacts.probes, artefacts.further
    if config.reader.precision != "fp32":
        found = _int8_readers(config, bundle, artefacts)
        if isinstance(found, CompiledReaders):
            return found
        log.info("reading in fp32: %s", found)
    reader = open_reader(bundle, "fp32", latents, probes, further, **reader_options(config, 1.0))
    if config.reader.precision == "fp32":  # else the self-test has checked it
        bundle.check("fp32", latents, reader.read_uncached(bundle.reference("fp32").texts), further)
    return CompiledReaders(reader)


def _int8_readers(config: Config, bundle: Bundle, artefacts: Artefacts) -> CompiledReaders | str:
    """The readers for int8, or why `auto` should read in fp32. Nothing of them is in memory then."""
    latents, probes, further = artefacts.latents, artefacts.probes, artefacts.further
    wanted = config.reader.precision
    # it reads few events, so it saves memory rather than time; weights in 4 bits need little even if they are packed
    packed = bundle.manifest.model.four_bit
    exact = open_reader(bundle, "fp32", latents, probes, further, packed=packed, **reader_options(config, EXACT_CACHE))
    rounding = open_reader(bundle, "int8", latents, probes, further, **reader_options(config, 1 - EXACT_CACHE))
    test = run_self_test(bundle, exact, rounding, latents, further)
    try:
        bundle.check("int8", latents, test.rounded, further)
    except ConfigError as e:
        if wanted == "int8":
            raise
        return str(e)
    comparison = compare(test, artefacts.sets, artefacts.columns)
    speeds = ", ".join(f"{name} reads {speed:,.0f} tokens/s" for name, speed in test.tokens_per_s.items())
    gain = f"{comparison.gain:.2f} times as fast with {comparison.confirmed:.0%} of texts read again ({speeds})"
    verification, reason = bundle.manifest.verification, None
    if verification is not None and not verification.accepted:
        reason = "when the bundle was verified, int8 decided otherwise than fp32 too often"
    elif comparison.gain < MIN_GAIN:
        reason = f"int8 is {gain}"
    if reason is not None and wanted == "auto":
        return reason
    if reason is not None:
        log.warning("reading in int8, as reader.precision says, but %s", reason)
    else:
        log.info("reading in int8, and in fp32 near thresholds: %s", gain)
    return CompiledReaders(rounding, exact, comparison.margins)


def find_bundle(config: Config, artefacts: Artefacts, progress: Callable[[str], None]) -> Bundle:
    """The bundle that the config names, or else the one in the cache."""
    return artefacts.bundle(lambda model: cached_bundle(config, model, progress))


def reader_options(config: Config, share: float) -> dict[str, int]:
    """The config's options for a reader that gets that share of the prefix cache."""
    reader = config.reader
    return {
        "batch_tokens": reader.batch_size,
        "window_tokens": reader.window_tokens,
        "cache_bytes": int(reader.cache_bytes * share),
        "threads": reader.threads,
    }


def build_torch_reader(config: Config, artefacts: ModelArtefacts) -> TorchReader:
    """The torch reader with the columns of the artefacts. Raises ConfigError."""
    try:
        from monitor.readers.cut_model import usable_device
        from monitor.readers.torch_reader import TorchHook, TorchReader
        from monitor.sae.encoder import CuratedEncoder
        from monitor.sae.probed_encoder import ProbedEncoder
    except ImportError as e:
        raise ConfigError(f"reader.engine: torch needs {e.name}; run: pip install 'latentwatch[torch]'") from None
    device = usable_device(config.reader.device)
    hooks = []
    saes = (artefacts.sae, *artefacts.further_saes)
    columns = (HookColumns(artefacts.latents, artefacts.probes), *artefacts.further)
    for point, sae, wanted in zip(artefacts.points, saes, columns, strict=True):
        ref = point.ref
        encoder = CuratedEncoder(sae, wanted.latents, ref.sae.activation_basis, device)
        probed = ProbedEncoder(encoder, wanted.probes, sae.d_in) if wanted.probes else encoder
        hooks.append(TorchHook(ref.layer, probed, ref.hook, ref.max_norm))
    first, *further = hooks
    reader = TorchReader(
        artefacts.model.folder,
        first.layer,
        first.encoder,
        device=config.reader.device,
        dtype=config.reader.dtype,
        batch_tokens=config.reader.batch_size,
        max_norm=first.max_norm,
        threads=config.reader.threads,
        hook=first.hook,
        further=further,
    )
    for sae in saes:
        if reader.d_model != sae.d_in:
            raise ConfigError(other_width(sae.d_in, reader.d_model))
    artefacts.reference_checks().activations(read_texts(reader), config.reader.dtype)
    return reader
