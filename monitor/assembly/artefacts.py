"""Artefacts: everything on disk that an engine needs, checked against the hashes in the feature sets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from detectors.feature_set import ReaderRef
from monitor.assembly.sets import load_sets
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.model.files import ModelFiles, converted, find_model
from monitor.model.gguf_model import GgufModel
from monitor.readers.onnx.bundle import Bundle, load_bundle
from monitor.readers.sae_reference import ReferenceCheck
from monitor.sae.rows import EncoderRows
from monitor.sae.sae_format import load_sae
from monitor.sae.storage import load_stored_sae
from monitor.sae.weights import SaeWeights
from monitor.sets.load import LoadedSet
from monitor.sets.probe import Probe


@dataclass(frozen=True)
class Artefacts(ABC):
    """The feature sets, and the files that they are read with: ModelArtefacts or BundleArtefacts."""

    sets: tuple[LoadedSet, ...]

    @property
    @abstractmethod
    def model(self) -> ModelFiles:
        """The model in transformers layout, which a GGUF is first converted into; of a bundle, only its text files."""

    @abstractmethod
    def bundle(self, compiled: Callable[[ModelArtefacts], Bundle]) -> Bundle:
        """The bundle to read with; `compiled` makes one from a model and an SAE."""

    @abstractmethod
    def uncompiled(self, purpose: str) -> ModelArtefacts:
        """Model and SAE for `purpose`. Raises ConfigError if there is only a bundle."""

    @abstractmethod
    def encoder_rows(self) -> EncoderRows:
        """The encoder rows and probes of the sets, for activations that come with events. Raises ConfigError."""

    @property
    def ref(self) -> ReaderRef:
        """Model, layer and SAE as the sets name them; load_feature_sets checks that all sets name the same."""
        return self.sets[0].shipped.reader

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
        """The columns of a reader for these sets: the latents, followed by the probes' hashes."""
        return (*self.latents, *(probe.sha256 for probe in self.probes))

    def reference_check(self) -> ReferenceCheck | None:
        """The check of the reference activations next to the SAE, if there are any. Raises as `in_folder` does."""
        return ReferenceCheck.in_folder(self.sets[0].sae_folder, self.ref)


@dataclass(frozen=True)
class ModelArtefacts(Artefacts):
    """A model and an SAE, to be read by torch or to be compiled."""

    original: ModelFiles | GgufModel
    """The model as it was published."""
    sae: SaeWeights

    @cached_property
    def model(self) -> ModelFiles:
        return converted(self.original)

    def bundle(self, compiled: Callable[[ModelArtefacts], Bundle]) -> Bundle:
        return compiled(self)

    def uncompiled(self, purpose: str) -> ModelArtefacts:  # noqa: ARG002 - only a bundle needs a name for its error
        return self

    def encoder_rows(self) -> EncoderRows:
        return EncoderRows.of(self.sae, self.latents, self.probes, self.ref)


@dataclass(frozen=True)
class BundleArtefacts(Artefacts):
    """A bundle that was compiled before, which holds both."""

    compiled: Bundle

    @property
    def model(self) -> ModelFiles:
        return self.compiled.files

    def bundle(self, compiled: Callable[[ModelArtefacts], Bundle]) -> Bundle:  # noqa: ARG002 - nothing to compile
        return self.compiled

    def uncompiled(self, purpose: str) -> ModelArtefacts:
        raise ConfigError(
            f"reader.bundle: {purpose} needs the model itself; remove reader.bundle and set reader.model instead"
        )

    def encoder_rows(self) -> EncoderRows:
        topk = self.compiled.manifest.sae.architecture == "topk"  # all its latents decide which are active
        sae = load_stored_sae(self.compiled.sae_file, None if topk else self.latents)
        places = self.latents if topk else range(len(self.latents))
        return EncoderRows.of(sae, places, self.probes, self.ref)


def load_artefacts(config: Config, loaded: Sequence[LoadedSet] | None = None) -> Artefacts:
    """Feature sets (unless they are loaded already), and the bundle or the model and the SAE of the config.

    Raises ConfigError with every problem.
    """
    sets = tuple(load_sets(config)) if loaded is None else tuple(loaded)
    if config.reader.bundle is None:
        return _load_model(config, sets)
    bundle = load_bundle(config.reader.bundle)
    check_bundle(bundle, sets[0].shipped.reader)
    return BundleArtefacts(sets, bundle)


def load_model_artefacts(config: Config) -> ModelArtefacts:
    """Feature sets, model and SAE, even if the config names a bundle. Raises ConfigError with every problem."""
    return _load_model(config, tuple(load_sets(config)))


def check_bundle(bundle: Bundle, ref: ReaderRef) -> None:
    """Raises ConfigError with everything in which `bundle` differs from what the feature sets were made on."""
    model, sae = bundle.manifest.model, bundle.manifest.sae
    wanted = {
        "model.sha256": (model.sha256, ref.model_sha256),
        "model.layer": (model.layer, ref.layer),
        "model.hook": (model.hook, ref.hook),
        "sae.sha256": (sae.sha256, ref.sae.sha256),
        "sae.activation_basis": (sae.activation_basis, ref.sae.activation_basis),
        "sae.max_norm": (sae.max_norm, ref.max_norm),
    }
    problems = [
        f"reader.bundle: {bundle.folder}: {key} is {found}, but the feature sets were made on {asked}"
        for key, (found, asked) in wanted.items()
        if found != asked
    ]
    if problems:
        raise ConfigError(problems)


def _load_model(config: Config, sets: tuple[LoadedSet, ...]) -> ModelArtefacts:
    ref = sets[0].shipped.reader
    problems: list[str] = []
    model: ModelFiles | GgufModel | None = None
    sae: SaeWeights | None = None
    try:
        model = find_model(config.reader.model, config.reader.revision, config.reader.cache_dir)
        if model.sha256 != ref.model_sha256:
            problems.append(
                f"reader.model: {config.reader.model} has sha256 {model.sha256}, but the feature sets were made on "
                f"{ref.model} with {ref.model_sha256}; feature indices mean nothing on another model"
            )
        if isinstance(model, ModelFiles):
            _ = model.tokenizer_file
    except ConfigError as e:
        problems += e.problems
    try:
        sae = load_sae(sets[0].sae_folder, ref, sets[0].path)
    except ConfigError as e:
        problems += e.problems
    if problems or model is None or sae is None:
        raise ConfigError(problems)
    return ModelArtefacts(sets, model, sae)
