"""Builds the reader and the engine that a config asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from monitor.assembly.artefacts import Artefacts, ModelArtefacts
from monitor.assembly.bundle_cache import cached_bundle
from monitor.assembly.engine import assemble_engine
from monitor.assembly.tokeniser import build_tokeniser
from monitor.config.sections import Config
from monitor.engine import Engine
from monitor.errors import ConfigError
from monitor.readers.onnx.bundle import Bundle
from monitor.readers.reader import Reader
from monitor.readers.reference import read_texts

log = logging.getLogger(__name__)

EXACT_CACHE = 0.25
"""The exact reader's share of the prefix cache's bytes: both readers read few of the events."""


def build_engine(config: Config, artefacts: Artefacts, progress: Callable[[str], None] = lambda _: None) -> Engine:
    """The engine of the config. Raises ConfigError if the model does not load or does not read as it should.

    `progress` is told each step that takes long: the onnx engine compiles a bundle if there is none yet.
    """
    tokeniser = build_tokeniser(config, artefacts.model)
    check = artefacts.reference_check()
    if check is not None:
        check.tokens(tokeniser)
    if config.reader.engine == "torch":
        return assemble_engine(config, artefacts, tokeniser, build_reader(config, artefacts, artefacts.columns))
    bundle = find_bundle(config, artefacts, progress)
    progress(f"loading the compiled reader {bundle.folder}")
    reader = bundle.reader(artefacts.columns, **reader_options(config))
    exact = bundle.exact_reader(artefacts.columns, **reader_options(config, EXACT_CACHE))
    if check is not None:
        check.activations(artefacts.latents, (exact or reader).read_uncached)
    margins = bundle.manifest.precision.margins
    unknown = [loaded.set.id for loaded in artefacts.sets if loaded.set.id not in margins]
    if exact is not None and unknown:
        log.warning(
            "%s was not compiled with the sets %s: every event that they look at is read twice; compile it again",
            bundle.folder,
            ", ".join(unknown),
        )
    return assemble_engine(config, artefacts, tokeniser, reader, exact, margins)


def build_reader(
    config: Config,
    artefacts: Artefacts,
    columns: Sequence[int | str],
    progress: Callable[[str], None] = lambda _: None,
) -> Reader:
    """The reader that the config asks for, with `columns`: latents, followed by probes by their hashes."""
    if config.reader.engine == "torch":
        return _torch_reader(config, artefacts.uncompiled("engine: torch"), columns)
    return find_bundle(config, artefacts, progress).reader(columns, **reader_options(config))


def find_bundle(config: Config, artefacts: Artefacts, progress: Callable[[str], None]) -> Bundle:
    """The bundle that the config names, or else the one in the cache."""
    return artefacts.bundle(lambda model: cached_bundle(config, model, progress))


def reader_options(config: Config, share: float = 1 - EXACT_CACHE) -> dict[str, int]:
    """The config's options for a reader that gets that share of the prefix cache."""
    reader = config.reader
    return {
        "batch_tokens": reader.batch_tokens,
        "window_tokens": reader.window_tokens,
        "cache_bytes": int(reader.prefix_cache_bytes * share),
        "threads": reader.threads,
    }


def _torch_reader(config: Config, artefacts: ModelArtefacts, columns: Sequence[int | str]) -> Reader:
    try:
        from monitor.readers.cut_model import usable_device
        from monitor.readers.torch_reader import TorchReader
        from monitor.sae.encoder import CuratedEncoder
        from monitor.sae.probed_encoder import ProbedEncoder
    except ImportError as e:
        raise ConfigError(f"reader.engine: torch needs {e.name}; run: pip install 'latentwatch[torch]'") from None
    ref = artefacts.ref
    latents = [name for name in columns if isinstance(name, int)]
    device = usable_device(config.reader.device)
    encoder = CuratedEncoder(artefacts.sae, latents, ref.sae.activation_basis, device)
    probes = [probe for probe in artefacts.probes if probe.sha256 in columns]
    reader = TorchReader(
        artefacts.model.folder,
        ref.layer,
        ProbedEncoder(encoder, probes, artefacts.sae.d_in) if probes else encoder,
        device=config.reader.device,
        dtype=config.reader.dtype,
        batch_tokens=config.reader.batch_tokens,
        max_norm=ref.max_norm,
        threads=config.reader.threads,
    )
    check = artefacts.reference_check()
    if check is not None:
        check.activations(latents, read_texts(reader), config.reader.dtype)
    return reader
