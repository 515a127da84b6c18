"""Artefacts: everything on disk that an engine needs, checked against the hashes in the feature sets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from detectors.feature_set import ReaderRef
from monitor.assembly.sets import load_sets
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.model.files import ModelFiles, converted, find_model
from monitor.model.gguf_model import GgufModel
from monitor.readers.onnx.bundle import Bundle, load_bundle
from monitor.readers.onnx.hook_columns import HookColumns
from monitor.readers.reference import ReadTexts, columns_of
from monitor.readers.sae_reference import ReferenceCheck
from monitor.sae.rows import EncoderRows
from monitor.sae.sae_format import load_sae
from monitor.sae.storage import load_stored_sae
from monitor.sae.weights import SaeWeights
from monitor.sets.hook_points import HookPoint, at_hook_points, hook_points
from monitor.sets.load import LoadedSet
from monitor.sets.probe import Probe
from monitor.tokens.tokeniser import EventTokeniser


@dataclass(frozen=True)
class Artefacts(ABC):
    """The feature sets, and the files that they are read with: ModelArtefacts or BundleArtefacts."""

    sets: tuple[LoadedSet, ...]
    hook_points: tuple[HookPoint, ...] = field(default=(), kw_only=True)
    """Where the readers read, the deepest first; if empty, where the sets say."""

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

    @cached_property
    def points(self) -> tuple[HookPoint, ...]:
        """Where the readers read, the deepest first."""
        return self.hook_points or hook_points(self.sets)

    @property
    def ref(self) -> ReaderRef:
        """Model, layer and SAE of the deepest hook point."""
        return self.points[0].ref

    @property
    def latents(self) -> tuple[int, ...]:
        """The SAE latents that any set at the deepest hook point uses, ascending."""
        return self._at(self.points[0]).latents

    @property
    def probes(self) -> tuple[Probe, ...]:
        """The probes that any set at the deepest hook point uses, ordered by hash."""
        return self._at(self.points[0]).probes

    @property
    def further(self) -> tuple[HookColumns, ...]:
        """Latents and probes at each hook point after the deepest."""
        return tuple(map(self._at, self.points[1:]))

    @property
    def columns(self) -> tuple[int | str, ...]:
        """The columns of a reader for these sets: of each hook point the latents, then the probes' hashes.

        Names at hook points after the deepest begin with that of the hook point, as LoadedSet.columns names them.
        """
        plain = [self._at(point).names for point in self.points]
        further = zip(self.points[1:], plain[1:], strict=True)
        return (*plain[0], *(f"{point.name}:{name}" for point, names in further for name in names))

    def _at(self, point: HookPoint) -> HookColumns:
        sets = [loaded for loaded in self.sets if loaded.hook_point == point.name]
        by_hash = {loaded.probe.sha256: loaded.probe for loaded in sets if loaded.probe is not None}
        return HookColumns(
            tuple(sorted({i for loaded in sets for i in loaded.set.indices()})),
            tuple(by_hash[sha256] for sha256 in sorted(by_hash)),
        )

    def reference_checks(self) -> ReferenceChecks:
        """The checks of the reference activations next to the SAEs. Raises as `ReferenceCheck.in_folder` does."""
        columns = [self._at(point) for point in self.points]
        found = [ReferenceCheck.in_folder(point.sae_folder, point.ref) for point in self.points]
        return ReferenceChecks(tuple(zip(found, columns, strict=True)))


@dataclass(frozen=True)
class ReferenceChecks:
    """Of each hook point the check, or None if its SAE has no reference, and the columns that it has of a reader."""

    checks: tuple[tuple[ReferenceCheck | None, HookColumns], ...]

    def tokens(self, tokeniser: EventTokeniser) -> None:
        """Raises ConfigError if `tokeniser` makes other tokens of the texts than when the sets were made."""
        for check, _ in self.checks:
            if check is not None:
                check.tokens(tokeniser)

    def activations(self, read: ReadTexts, dtype: str = "float32") -> None:
        """Raises ConfigError if `read`, with the columns of all hook points, differs from a reference."""
        start = 0
        for check, columns in self.checks:
            if check is not None:
                check.activations(columns.latents, columns_of(read, start), dtype)
            start += columns.width


@dataclass(frozen=True)
class ModelArtefacts(Artefacts):
    """A model and an SAE, to be read by torch or to be compiled."""

    original: ModelFiles | GgufModel
    """The model as it was published."""
    sae: SaeWeights
    """Of the deepest hook point."""
    further_saes: tuple[SaeWeights, ...] = ()
    """Of the other hook points."""

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
        sae = load_stored_sae(self.compiled.sae_file(), None if topk else self.latents)
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
    points = hook_points(sets)
    check_bundle(bundle, *(point.ref for point in points))
    return BundleArtefacts(at_hook_points(sets, points), bundle)


def load_model_artefacts(config: Config) -> ModelArtefacts:
    """Feature sets of one hook point, model and SAE, even if the config names a bundle.

    Raises ConfigError with every problem.
    """
    sets = tuple(load_sets(config))
    points = hook_points(sets)
    if len(points) > 1:
        raise ConfigError(
            f"feature_sets: {points[1].set_path} is read at {points[1]}, but {points[0].set_path} at {points[0]}; "
            "this command reads one layer and SAE at a time: choose sets of one"
        )
    return _load_model(config, sets)


def check_bundle(bundle: Bundle, *refs: ReaderRef) -> None:
    """Raises ConfigError with everything in which `bundle` differs from what the feature sets were made on.

    `refs` are those of the hook points, the deepest first.
    """
    ref, manifest = refs[0], bundle.manifest
    model, sae = manifest.model, manifest.sae
    wanted: dict[str, tuple[object, object]] = {
        "model.sha256": (model.sha256, ref.model_sha256),
        "model.layer": (model.layer, ref.layer),
        "model.hook": (model.hook, ref.hook),
        "sae.sha256": (sae.sha256, ref.sae.sha256),
        "sae.activation_basis": (sae.activation_basis, ref.sae.activation_basis),
        "sae.max_norm": (sae.max_norm, ref.max_norm),
        "the number of hook points": (1 + len(manifest.further), len(refs)),
    }
    for n, (found_at, asked_at) in enumerate(zip(manifest.further, refs[1:], strict=False)):
        of = found_at.sae
        wanted |= {
            f"further[{n}].layer": (found_at.layer, asked_at.layer),
            f"further[{n}].hook": (found_at.hook, asked_at.hook),
            f"further[{n}].sae.sha256": (of.sha256, asked_at.sae.sha256),
            f"further[{n}].sae.activation_basis": (of.activation_basis, asked_at.sae.activation_basis),
            f"further[{n}].sae.max_norm": (of.max_norm, asked_at.max_norm),
        }
    problems = [
        f"reader.bundle: {bundle.folder}: {key} is {found}, but the feature sets were made on {asked}"
        for key, (found, asked) in wanted.items()
        if found != asked
    ]
    if problems:
        raise ConfigError(problems)


def _load_model(config: Config, sets: tuple[LoadedSet, ...]) -> ModelArtefacts:
    points = hook_points(sets)
    sets, ref = at_hook_points(sets, points), points[0].ref
    problems: list[str] = []
    model: ModelFiles | GgufModel | None = None
    saes: list[SaeWeights] = []
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
    for point in points:
        try:
            saes.append(load_sae(point.sae_folder, point.ref, point.set_path))
        except ConfigError as e:
            problems += e.problems
    if problems or model is None:
        raise ConfigError(problems)
    return ModelArtefacts(sets, model, saes[0], tuple(saes[1:]))
