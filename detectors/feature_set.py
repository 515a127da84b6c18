"""FeatureSet: one category's curated features, how they are matched, and what was measured about them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, model_validator

from detectors.calibration import Calibration
from detectors.frozen_model import ActivationBasis, Finite, Float32, FrozenModel, Sha256
from detectors.metrics import Metric, MetricsSummary, summarised
from detectors.pooling import Pooling

Severity = Literal["info", "low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "low", "medium", "high", "critical")
SegmentName = Literal["system", "user", "assistant", "tool", "other", "response"]
"""Parts of an event; `other` is a turn whose role isn't known."""
CombineSegments = Literal["max", "mean"]
HookName = Literal["resid_post", "attn_out", "mlp_out"]
"""Hook points that readers have."""
BUILT_IN = ("threshold", "weighted", "probe")
"""Detectors whose sets are checked here; one from a package does its own checks."""
Language = Annotated[str, Field(pattern=r"^[a-z]{2}$")]
"""A code of ISO 639-1."""
T = TypeVar("T")


def _not_empty(items: tuple[T, ...]) -> tuple[T, ...]:
    # not min_length, which also counts items that were refused and would add a second, misleading error
    if not items:
        raise ValueError("needs at least one item")
    return items


Languages = Annotated[tuple[Language, ...], AfterValidator(_not_empty)]


class SaeRef(FrozenModel):
    """The exact SAE that the feature indices belong to."""

    format: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = "saelens"
    """The layout of its files: one of docs/sae-formats.md, or one that an installed package adds."""
    path: str
    """Folder of the SAE's files, or the file if one folder holds many SAEs; relative to the file that names it."""
    sha256: Sha256
    """Of the weights file; of the concatenated hashes if the format has several."""
    width: Annotated[int, Field(gt=0)]
    activation_basis: ActivationBasis = "raw"
    trained_on: Annotated[str, Field(min_length=1)] | None = None
    """The model that the SAE's files name, if that is another name than the reader's and may be read all the same."""


class ReaderRef(FrozenModel):
    """The model and hook point that the SAE was trained on."""

    model: str
    model_sha256: Sha256
    """Of the weights file (of the concatenated per-file hashes if there are several)."""
    layer: Annotated[int, Field(ge=0)]
    """Zero-based index of the transformer block."""
    hook: HookName = "resid_post"
    """Where in the block: its output, or what its attention or its MLP adds to the residual stream."""
    max_norm: Annotated[float, Field(gt=0)] | None = None
    """Tokens whose residual has a larger norm have massive activations that no SAE was trained on; they count as 0."""
    sae: SaeRef


NAMED_FROM = 0.7
"""The lowest score of a label with which its feature counts as named."""


class WeightsRef(FrozenModel):
    """The safetensors file with a set's weights, and with its probe if it has one."""

    path: str
    """Relative to the feature-set file."""
    sha256: Sha256


class Feature(FrozenModel):
    """One SAE latent."""

    index: Annotated[int, Field(ge=0)]
    label: Annotated[str, Field(min_length=1)]
    """What the feature stands for; the tokens on which it is most active if nobody has named it."""
    label_score: Annotated[float, Field(ge=0, le=1)] | None = None
    """How well judges who knew only the label told texts on which the feature is active from others (balanced
    accuracy); None if nobody measured it."""
    threshold: Float32 | None = None
    """In units of the activation basis after pooling; needed under a condition."""
    weight: Float32 | None = None
    """Per unit of the pooled activation; needed for a score."""
    evidence: str = ""
    """How the label was found."""

    @property
    def named(self) -> bool:
        """Whether the label was measured and holds up. Alerts show only such features one by one."""
        return self.label_score is not None and self.label_score >= NAMED_FROM


class Condition(FrozenModel):
    """When a set without a score counts as active: its features' own thresholds decide."""

    kind: Literal["any", "k_of_n"]
    k: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _parameters(self) -> Condition:
        if (self.k is not None) != (self.kind == "k_of_n"):
            raise ValueError("k is required for k_of_n, and not allowed otherwise")
        return self


class Escalation(FrozenModel):
    """Alerts with at least this score have this severity."""

    score: Finite
    severity: Severity


class FeatureSet(FrozenModel):
    """A detector for one category. Feature indices mean nothing without `reader`, so loaders must check its hashes."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    title: str
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    status: Literal["experimental", "test", "stable"]
    severity: Severity
    category: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
    definition: str
    """What was counted as positive when it was trained and measured."""
    description: str
    segments: Annotated[tuple[SegmentName, ...], AfterValidator(_not_empty)]
    combine_segments: CombineSegments = "max"
    """How the scores of an event's segments become the event's. max: the highest of all. mean: the mean over the
    segment names that it has (user, response), each with its highest; of log-odds if scores are logistic."""
    min_tokens: Annotated[int, Field(gt=0)] = 1
    """Segments of fewer tokens are not scored."""
    detector: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    """threshold, weighted, probe, or one that an installed package adds."""
    pooling: Pooling
    threshold: Finite | None = None
    """The lowest score at which the set is active. A set has either this or a `condition`."""
    condition: Condition | None = None
    """`threshold` detectors only: the features' own thresholds decide, without a threshold for the set."""
    bias: Finite = 0.0
    """`weighted` and `probe`: the logit if nothing is active."""
    weights: WeightsRef | None = None
    """The file that the features' weights and the probe came from; None if all weights are in the set itself."""
    probe: Sha256 | None = None
    """`probe` only: the hash of the linear probe in the weights file. It is added to the logit before the features."""
    escalations: tuple[Escalation, ...] = ()
    calibration: Calibration | None = None
    summary: MetricsSummary | None = None
    """Of `metrics`."""
    features: Annotated[tuple[Feature, ...], AfterValidator(_not_empty)]
    metrics: dict[str, Metric] = Field(default_factory=dict)
    languages: Languages | None = None
    """The languages that the set is for. It abstains on segments in any other; None if it is for all."""
    falsepositives: tuple[str, ...] = ()
    known_gaps: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    reader: ReaderRef

    @model_validator(mode="after")
    def _consistent(self) -> FeatureSet:
        self._check_indices()
        if self.detector in BUILT_IN:
            self._check_decision()
        if self.summary is not None and self.summary != summarised(self.metrics):
            raise ValueError("summary: differs from the metrics; it should be: " + _in_short(self.metrics))
        return self

    def _check_indices(self) -> None:
        seen: set[int] = set()
        for feature in self.features:
            if feature.index in seen:
                raise ValueError(f"features: index {feature.index} is listed twice")
            seen.add(feature.index)
        if max(seen) >= self.reader.sae.width:
            raise ValueError(f"features: index {max(seen)} is outside the SAE's width {self.reader.sae.width}")

    def _check_decision(self) -> None:
        if (self.probe is not None) != (self.detector == "probe"):
            raise ValueError("detector: a probe detector needs a probe in `weights`, and no other may have one")
        if self.threshold is None and self.condition is None:
            raise ValueError("threshold: needed (a threshold detector may have a `condition` instead)")
        if self.threshold is not None and self.condition is not None:
            raise ValueError("threshold: not allowed with `condition`, under which the features' own thresholds decide")
        if self.condition is None:
            self._check_weights()
        else:
            self._check_thresholds(self.condition)

    def _check_weights(self) -> None:
        missing = [f.index for f in self.features if f.weight is None]
        if missing:
            raise ValueError(f"features: index {missing[0]} needs a weight, because the set has no condition")

    @property
    def active_from(self) -> float:
        """The score from which the set is active: its threshold, or 1 if its features' own thresholds decide."""
        return 1.0 if self.threshold is None else self.threshold

    def _check_thresholds(self, condition: Condition) -> None:
        if self.detector != "threshold":
            raise ValueError(f"condition: a {self.detector} detector has a score; use threshold")
        if condition.k is not None and condition.k > len(self.features):
            raise ValueError(f"condition: k = {condition.k} of {len(self.features)} features can never hold")
        for feature in self.features:
            if feature.threshold is None:
                raise ValueError(f"features: index {feature.index} needs a threshold under condition {condition.kind}")
            if feature.threshold <= 0:  # activations are compared as a ratio, and none is below 0
                raise ValueError(f"features: index {feature.index} needs a threshold above 0")

    def abstains_on(self, language: str | None) -> bool:
        """Whether a segment in this language is outside the set's languages; None, for an unknown one, never is."""
        return self.languages is not None and language is not None and language not in self.languages

    def indices(self) -> tuple[int, ...]:
        """The SAE latents of this set, in file order."""
        return tuple(f.index for f in self.features)

    def columns(self) -> tuple[int | str, ...]:
        """What a reader must return for this set: its latents, then its probe, named by its hash."""
        return (*self.indices(), *([] if self.probe is None else [self.probe]))


def _in_short(metrics: dict[str, Metric]) -> str:
    ranges = summarised(metrics).model_dump(mode="json")
    return ", ".join(f"{key}: {'null' if value is None else value}" for key, value in ranges.items())


class FeatureOverride(FrozenModel):
    """A user's change to one feature, from the config file."""

    enabled: bool = True
    threshold: Finite | None = None
    weight: Finite | None = None


class SetOverride(FrozenModel):
    """A user's change to one set, from the config file."""

    enabled: bool = True
    severity: Severity | None = None
    threshold: Finite | None = None
    """The lowest score at which the set is active; only for sets that have a threshold."""
    languages: Literal["any"] | Languages | None = None
    """Languages in which the set scores; `any` for all."""
    features: dict[int, FeatureOverride] = Field(default_factory=dict)


def overridden(feature_set: FeatureSet, override: SetOverride) -> FeatureSet:
    """The set with the user's changes. Raises ValueError if a change does not fit the set."""
    if override == SetOverride():
        return feature_set  # thousands of features need not be checked again
    unknown = sorted(set(override.features) - set(feature_set.indices()))
    if unknown:
        raise ValueError(f"features: {feature_set.id} has no feature {unknown[0]}")
    data: dict[str, Any] = feature_set.model_dump()
    if override.severity is not None:
        data["severity"] = override.severity
        data["escalations"] = ()  # the user's choice is final: no score raises it
    if override.threshold is not None:
        if feature_set.condition is not None:
            raise ValueError(
                f"threshold: {feature_set.id} has condition {feature_set.condition.kind}; set features.INDEX.threshold"
            )
        data["threshold"] = override.threshold
    if override.languages is not None:
        data["languages"] = None if override.languages == "any" else override.languages
    features = []
    for feature in data["features"]:
        change = override.features.get(feature["index"], FeatureOverride())
        if not change.enabled:
            continue
        unused = _without_effect(feature_set, change)
        if unused is not None:
            raise ValueError(f"features.{feature['index']}.{unused}")
        if change.threshold is not None:
            feature["threshold"] = change.threshold
        if change.weight is not None:
            feature["weight"] = change.weight
        features.append(feature)
    if not features:
        raise ValueError(f"features: every feature of {feature_set.id} is off; use enabled: false for the set")
    data["features"] = features
    return FeatureSet.model_validate(data)


def _without_effect(feature_set: FeatureSet, change: FeatureOverride) -> str | None:
    """The key of the change that the set's detector would not look at, and what to do; None if there is none."""
    if feature_set.detector not in BUILT_IN:
        return None
    if change.threshold is not None and feature_set.condition is None:
        return f"threshold: {feature_set.id} has one threshold for its score; change that, or the feature's weight"
    if change.weight is not None and feature_set.condition is not None:
        return f"weight: {feature_set.id} has condition {feature_set.condition.kind}; change the feature's threshold"
    return None
