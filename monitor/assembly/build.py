"""Builds an engine from a config, refusing a model or an SAE that the feature sets were not made for."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import monitor
from detectors.feature_set import ReaderRef
from monitor.compiler.calibration_events import CalibrationEvent, load_calibration_events
from monitor.compiler.compile import PrecisionChoice, Source, compile_bundle
from monitor.config.sections import Config
from monitor.engine import Confirmation, Engine
from monitor.errors import ConfigError
from monitor.machine import machine
from monitor.model.files import ModelFiles, default_cache, file_sha256, locate
from monitor.readers.onnx.bundle import BUNDLE_FORMAT, TEXT_FILES, Bundle, load_bundle
from monitor.readers.onnx.reader import OnnxReader
from monitor.readers.reader import Reader
from monitor.readers.reference import ReferenceCheck, read_all, read_alone
from monitor.readers.windows import WindowPlanner
from monitor.sae.formats.saelens import WEIGHTS_FILE, load_saelens
from monitor.sae.weights import SaeWeights
from monitor.sets.load import LoadedSet, load_feature_sets
from monitor.sets.probe import Probe
from monitor.tokens.chat_template import ChatTemplate
from monitor.tokens.tokeniser import EventTokeniser

log = logging.getLogger(__name__)

CACHED_CALIBRATION_EVENTS = 400
"""Events on which precisions are compared when a sidecar compiles for itself: it is waited for."""
_CACHED_BUNDLES = 3
EXACT_CACHE = 0.25
"""The exact reader's share of the prefix cache's bytes: few events are read by both readers."""


@dataclass(frozen=True)
class Artefacts:
    """Everything on disk that an engine needs, checked against the hashes in the feature sets."""

    sets: tuple[LoadedSet, ...]
    model: ModelFiles
    made_of: SaeWeights | Bundle
    """The SAE, to be read with the model or compiled with it; or a bundle that has both."""

    @property
    def latents(self) -> tuple[int, ...]:
        """The SAE latents that any set uses, ascending."""
        return tuple(sorted({i for loaded in self.sets for i in loaded.set.indices()}))

    @property
    def probes(self) -> tuple[Probe, ...]:
        """The probes that any set uses, ordered by hash."""
        by_hash = {loaded.probe.sha256: loaded.probe for loaded in self.sets if loaded.probe is not None}
        return tuple(by_hash[sha256] for sha256 in sorted(by_hash))

    @property
    def columns(self) -> tuple[int | str, ...]:
        """What readers hand out: the latents, and behind them the probes by their hashes."""
        return (*self.latents, *(probe.sha256 for probe in self.probes))


def load_artefacts(config: Config) -> Artefacts:
    """Feature sets, model and SAE of the config. Raises ConfigError with every problem found."""
    sets = load_feature_sets(config.feature_sets.paths, config.feature_sets.only, config.feature_sets.overrides)
    ref = sets[0].shipped.reader  # load_feature_sets made sure that all sets name the same reader
    if config.reader.bundle is not None:
        bundle = _checked_bundle(config.reader.bundle, ref)
        return Artefacts(tuple(sets), bundle.files, bundle)
    problems: list[str] = []
    model: ModelFiles | None = None
    sae: SaeWeights | None = None
    try:
        model = locate(config.reader.model, config.reader.revision, config.reader.cache_dir)
        if model.sha256 != ref.model_sha256:
            problems.append(
                f"reader.model: {config.reader.model} has sha256 {model.sha256}, but the feature sets were made on "
                f"{ref.model} with {ref.model_sha256}; feature indices mean nothing on another model"
            )
        _ = model.tokenizer_file
    except ConfigError as e:
        problems += e.problems
    try:
        sae = _checked_sae(sets[0])
    except ConfigError as e:
        problems += e.problems
    if problems or model is None or sae is None:
        raise ConfigError(problems)
    return Artefacts(tuple(sets), model, sae)


def build_engine(config: Config, artefacts: Artefacts, progress: Callable[[str], None] = lambda _: None) -> Engine:
    """The engine that judges events by the config. Raises ConfigError where the model does not load.

    `progress` is told what takes long: the onnx engine compiles a bundle where there is none yet.
    """
    tokeniser = build_tokeniser(config, artefacts.model)
    check = reference_check(artefacts.sets)
    if check is not None:
        check.tokens(tokeniser)
    if config.reader.engine == "torch":
        return assemble_engine(config, artefacts, tokeniser, build_reader(config, artefacts, artefacts.columns))
    bundle = _bundle(config, artefacts, progress)
    reader = bundle.reader(artefacts.columns, **reader_options(config))
    exact = bundle.exact_reader(artefacts.columns, **reader_options(config, EXACT_CACHE))
    if check is not None:
        check.activations(artefacts.latents, read_alone(exact or reader))
    margins = bundle.manifest.precision.margins
    unknown = [loaded.set.id for loaded in artefacts.sets if loaded.set.id not in margins]
    if exact is not None and unknown:
        log.warning(
            "%s was not compiled with the sets %s: every event that they look at is read twice; compile it again",
            bundle.folder,
            ", ".join(unknown),
        )
    return assemble_engine(config, artefacts, tokeniser, reader, exact, margins)


def reference_check(sets: Sequence[LoadedSet]) -> ReferenceCheck | None:
    """The golden activations beside the SAE that `sets` name; None where there are none. Raises as `beside` does."""
    return ReferenceCheck.beside(sets[0].sae_folder, sets[0].shipped.reader)


def build_tokeniser(config: Config, model: ModelFiles) -> EventTokeniser:
    """The tokeniser of the model, with the chat template that the config says."""
    return EventTokeniser.load(model.tokenizer_file, build_template(config, model))


def build_template(config: Config, model: ModelFiles) -> ChatTemplate:
    """The chat template that the config says, or else the model's own."""
    template_file = config.reader.chat_template
    try:
        source = model.chat_template() if template_file is None else template_file.read_text()
    except OSError as e:
        raise ConfigError(f"reader.chat_template: {template_file}: cannot be read: {e.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"reader.chat_template: {template_file}: not UTF-8 text") from None
    return ChatTemplate(source, model.special_tokens())


def build_reader(
    config: Config,
    artefacts: Artefacts,
    columns: Sequence[int | str],
    progress: Callable[[str], None] = lambda _: None,
) -> Reader:
    """The reader that the config asks for, with `columns`: latents, and behind them probes by their hashes."""
    if config.reader.engine == "torch":
        return _torch_reader(config, artefacts, columns)
    return _bundle(config, artefacts, progress).reader(columns, **reader_options(config))


def _bundle(config: Config, artefacts: Artefacts, progress: Callable[[str], None]) -> Bundle:
    made_of = artefacts.made_of
    return made_of if isinstance(made_of, Bundle) else cached_bundle(config, artefacts, progress)


def reader_options(config: Config, share: float = 1 - EXACT_CACHE) -> dict[str, int]:
    """What the config says for a reader that gets that share of the prefix cache."""
    reader = config.reader
    return {
        "batch_tokens": reader.batch_tokens,
        "window_tokens": reader.window_tokens,
        "cache_bytes": int(reader.prefix_cache_bytes * share),
        "threads": reader.threads,
    }


def cached_bundle(config: Config, artefacts: Artefacts, progress: Callable[[str], None]) -> Bundle:
    """The bundle of these artefacts in the cache; compiled now where it is not there."""
    identity = _identity(config, artefacts)
    folder = (config.reader.cache_dir or default_cache()) / "bundles" / identity
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
    _forget_old(folder.parent)
    return bundle


def _forget_old(bundles: Path) -> None:
    """Every change of a set makes another bundle. A process that reads an old one has its files open and keeps them."""
    newest_first = sorted((f for f in bundles.iterdir() if f.is_dir()), key=lambda f: -f.stat().st_mtime)
    for folder in newest_first[_CACHED_BUNDLES:]:
        shutil.rmtree(folder, ignore_errors=True)


def compile_artefacts(
    config: Config,
    artefacts: Artefacts,
    out: Path,
    precision: PrecisionChoice,
    events: Sequence[CalibrationEvent],
    progress: Callable[[str], None],
) -> Bundle:
    """Compiles the model and the SAE of `artefacts` into the bundle `out`; see compile_bundle."""
    sae = artefacts.made_of
    if isinstance(sae, Bundle):
        raise ConfigError("reader.bundle: compiling needs reader.model, not a bundle that was compiled before")
    tokeniser = build_tokeniser(config, artefacts.model)

    def judge(reader: OnnxReader, calibration: Sequence[CalibrationEvent]) -> NDArray[np.float64]:
        scores = assemble_engine(config, artefacts, tokeniser, reader).scores([c.event for c in calibration])
        return np.array(
            [[math.nan if (s := of[n.set.id]) is None else s.value for n in artefacts.sets] for of in scores]
        )

    check = reference_check(artefacts.sets)
    if check is not None:
        check.tokens(tokeniser)

    def accept(exact: OnnxReader) -> None:
        if check is not None:
            check.activations(artefacts.latents, read_alone(exact))

    ref = artefacts.sets[0].shipped.reader
    source = Source(artefacts.model, sae, ref, artefacts.latents, artefacts.probes, artefacts.sets)
    return compile_bundle(source, out, tokeniser, judge, events, precision, config.reader.threads, progress, accept)


def assemble_engine(
    config: Config,
    artefacts: Artefacts,
    tokeniser: EventTokeniser,
    reader: Reader,
    exact: Reader | None = None,
    margins: Mapping[str, float] | None = None,
) -> Engine:
    """An engine over readers that are there: `reader` reads everything, `exact` what comes within `margins`."""
    starts, window, overlap = tokeniser.constant_starts(), config.reader.window_tokens, config.reader.overlap_tokens
    confirmation = None
    if exact is not None:
        confirmation = Confirmation(WindowPlanner(exact, starts, window, overlap), exact, margins or {})
    return Engine(
        artefacts.sets,
        tokeniser,
        WindowPlanner(reader, starts, window, overlap),
        reader,
        artefacts.columns,
        config.alerts,
        config.sha256(),
        config.events.max_tokens,
        confirmation=confirmation,
    )


def _torch_reader(config: Config, artefacts: Artefacts, columns: Sequence[int | str]) -> Reader:
    try:
        from monitor.readers.torch_reader import TorchReader, usable_device
        from monitor.sae.encoder import CuratedEncoder
        from monitor.sae.probed_encoder import ProbedEncoder
    except ImportError as e:
        raise ConfigError(f"reader.engine: torch needs {e.name}; run: pip install 'latentwatch[torch]'") from None
    if isinstance(artefacts.made_of, Bundle):
        raise ConfigError("reader.bundle: the torch engine reads reader.model, not a bundle")
    ref = artefacts.sets[0].shipped.reader
    device = usable_device(config.reader.device)
    latents = [name for name in columns if isinstance(name, int)]
    encoder = CuratedEncoder(artefacts.made_of, latents, ref.sae.activation_basis, device)
    probes = [probe for probe in artefacts.probes if probe.sha256 in columns]
    reader = TorchReader(
        artefacts.model.folder,
        ref.layer,
        ProbedEncoder(encoder, probes, artefacts.made_of.d_in) if probes else encoder,
        device=config.reader.device,
        dtype=config.reader.dtype,
        batch_tokens=config.reader.batch_tokens,
        max_norm=ref.max_norm,
        threads=config.reader.threads,
    )
    check = reference_check(artefacts.sets)
    if check is not None:
        check.activations(latents, read_all(reader), config.reader.dtype)
    return reader


def _identity(config: Config, artefacts: Artefacts) -> str:
    """Names a cached bundle by all that it is made of."""
    ref, model = artefacts.sets[0].shipped.reader, artefacts.model
    sae = artefacts.made_of
    topk = isinstance(sae, SaeWeights) and sae.architecture == "topk"
    texts = [path for name in TEXT_FILES if (path := model.folder / name).is_file()]
    if config.reader.chat_template is not None and config.reader.chat_template.is_file():
        texts.append(config.reader.chat_template)  # the constant beginnings in the bundle are of that template
    parts = [
        monitor.__version__,
        BUNDLE_FORMAT,
        machine(),  # another processor may round otherwise, and be fast at other things
        ref.model_dump_json(),
        None if topk else artefacts.latents,  # all latents of a TopK SAE are in the graph
        [probe.sha256 for probe in artefacts.probes],
        config.reader.precision,
        # precisions are compared by what the sets decide
        [] if config.reader.precision == "fp32" else [loaded.sha256 for loaded in artefacts.sets],
        [file_sha256(path) for path in texts],
    ]
    return f"{model.folder.name}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"


def _checked_bundle(folder: Path, ref: ReaderRef) -> Bundle:
    bundle = load_bundle(folder)
    model, sae = bundle.manifest.model, bundle.manifest.sae
    wanted = {
        "model.sha256": (model.sha256, ref.model_sha256),
        "model.layer": (model.layer, ref.layer),
        "sae.sha256": (sae.sha256, ref.sae.sha256),
        "sae.activation_basis": (sae.activation_basis, ref.sae.activation_basis),
        "sae.max_norm": (sae.max_norm, ref.max_norm),
    }
    problems = [
        f"reader.bundle: {folder}: {key} is {found}, but the feature sets were made on {asked}"
        for key, (found, asked) in wanted.items()
        if found != asked
    ]
    if problems:
        raise ConfigError(problems)
    return bundle


def _checked_sae(loaded: LoadedSet) -> SaeWeights:
    ref = loaded.shipped.reader.sae
    weights_file = loaded.sae_folder / WEIGHTS_FILE
    if not weights_file.is_file():
        raise ConfigError(f"{loaded.path}: reader.sae.path: {weights_file}: no such file")
    found = file_sha256(weights_file)
    if found != ref.sha256:
        raise ConfigError(f"{weights_file}: sha256 is {found}, but {loaded.path} was made on {ref.sha256}")
    sae = load_saelens(loaded.sae_folder)
    if sae.d_sae != ref.width:
        raise ConfigError(f"{loaded.path}: reader.sae.width: {ref.width}, but the SAE has {sae.d_sae} latents")
    return sae
