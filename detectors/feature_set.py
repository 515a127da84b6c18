"""FeatureSet: one category's curated features, how they are matched, and what was measured about them."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Severity = Literal["info", "low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "low", "medium", "high", "critical")
SegmentName = Literal["system", "user", "assistant", "tool", "response"]
Across = Literal["highest", "mean"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
T = TypeVar("T")


def _not_empty(items: tuple[T, ...]) -> tuple[T, ...]:
    # not min_length, which also counts items that were refused and would add a second, misleading complaint
    if not items:
        raise ValueError("needs at least one item")
    return items


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SaeRef(_Model):
    """The exact SAE that the feature indices belong to."""

    format: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = "saelens"
    """How the files are laid out: saelens, or a format that an installed package adds."""
    path: str
    """Folder of the SAE's files, relative to the feature-set file."""
    sha256: Sha256
    """Of the weights file; of the concatenated hashes if the format has several."""
    width: Annotated[int, Field(gt=0)]
    activation_basis: Literal["raw", "decoder_norm_folded"] = "raw"
    """raw: the encoder's own output. decoder_norm_folded: multiplied by the norm of the latent's decoder row."""


class ReaderRef(_Model):
    """The model and hook point that the SAE was trained on."""

    model: str
    model_sha256: Sha256
    """Of the weights file (of the concatenated per-file hashes where there are several)."""
    layer: Annotated[int, Field(ge=0)]
    """Zero-based index of the transformer block; the hook is its output."""
    hook: Literal["resid_post"] = "resid_post"
    max_norm: Annotated[float, Field(gt=0)] | None = None
    """Tokens whose residual is longer than this carry massive activations that no SAE was trained on; they read 0."""
    sae: SaeRef


class ProbeRef(_Model):
    """A linear probe on the residual stream at the hook, in a file beside the set."""

    path: str
    """Safetensors with `direction` [d] and `offset` [1], relative to the feature-set file."""
    sha256: Sha256


class Pooling(_Model):
    """How the activations of one feature over the tokens of a segment become one number."""

    kind: Literal["max", "mean", "topk_mean", "count"]
    k: Annotated[int, Field(gt=0)] | None = None
    """topk_mean: mean over the k strongest tokens (over all tokens where there are fewer)."""
    over: Finite | None = None
    """count: number of tokens with an activation above this."""
    prior_tokens: Annotated[int, Field(ge=0)] = 0
    """mean: that many tokens without activation are counted in, so that a few tokens alone do not make a high mean."""

    @model_validator(mode="after")
    def _parameters(self) -> Pooling:
        if (self.k is not None) != (self.kind == "topk_mean"):
            raise ValueError("k belongs to topk_mean, and topk_mean needs it")
        if (self.over is not None) != (self.kind == "count"):
            raise ValueError("over belongs to count, and count needs it")
        if self.prior_tokens and self.kind != "mean":
            raise ValueError("prior_tokens belongs to mean")
        return self


class Feature(_Model):
    """One SAE latent."""

    index: Annotated[int, Field(ge=0)]
    label: Annotated[str, Field(min_length=1)]
    """What the top-activating tokens have in common."""
    threshold: Finite | None = None
    """In units of the activation basis after pooling; `threshold` detectors need it."""
    weight: Finite | None = None
    """Per unit of the pooled activation; `weighted` and `probe` detectors need it."""
    evidence: str = ""
    """How the label was found."""


class Condition(_Model):
    """When a set counts as active."""

    kind: Literal["any", "k_of_n", "score"]
    k: Annotated[int, Field(gt=0)] | None = None
    at_least: Finite | None = None

    @model_validator(mode="after")
    def _parameters(self) -> Condition:
        if (self.k is not None) != (self.kind == "k_of_n"):
            raise ValueError("k belongs to k_of_n, and k_of_n needs it")
        if (self.at_least is not None) != (self.kind == "score"):
            raise ValueError("at_least belongs to score, and score needs it")
        return self


class Escalation(_Model):
    """From this score on, the alert has this severity."""

    score: Finite
    severity: Severity


class Calibration(_Model):
    """The benign traffic that the threshold was set on, and what it then measured."""

    benign: str
    """Which texts."""
    n: Annotated[int, Field(gt=0)]
    target_fpr: Annotated[float, Field(gt=0, lt=1)]
    measured_fpr: Annotated[float, Field(ge=0, le=1)]
    """On benign texts that did not set the threshold."""
    measured_n: Annotated[int, Field(gt=0)]
    interval_95: tuple[float, float]
    date: date
    unit: str | None = None
    """What the threshold is compared with: logistic, activation, or activation/threshold."""
    activation_basis: Literal["raw", "decoder_norm_folded"] | None = None
    """The basis of the activations below that score."""


class Metric(_Model):
    """Detection figures on one labelled source; null where a figure does not apply."""

    auroc: float | None
    auroc_interval_95: tuple[float, float] | None = None
    recall_at_1pct_fpr: float | None = None
    """At the threshold that 1 % of benign texts of other authors reach."""
    pair_win_rate: float | None = None
    auroc_vs_benign: float | None = None
    """Positives of this source against benign texts of other authors, instead of the source's own negatives."""
    n_positive: int
    n_negative: int
    weighted_auroc: float | None = None
    """SAE features alone, as a `weighted` set; the same as `auroc` where the set is one."""
    with_probe_auroc: float | None = None
    """Features and a probe together, as a `probe` set; the same as `auroc` where the set is one."""
    dense_probe_auroc: float | None = None
    """Logistic regression on the mean residual, same training rows."""
    dense_probe_interval_95: tuple[float, float] | None = None
    word_only_auroc: float | None = None
    """Naive Bayes on word counts, same training rows."""
    word_only_interval_95: tuple[float, float] | None = None
    left_out: bool
    """True where the figures are those of the same recipe fitted without any row of this source or its family; the
    shipped weights were then fitted on all sources together."""


class FeatureSet(_Model):
    """A detector for one category. Feature indices mean nothing without `reader`, so loaders must check its hashes."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    title: str
    category: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
    severity: Severity
    status: Literal["experimental", "test", "stable"]
    description: str
    definition: str
    """What was counted as positive when it was trained and measured."""
    references: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    reader: ReaderRef
    detector: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    """threshold, weighted, probe, or one that an installed package adds."""
    segments: Annotated[tuple[SegmentName, ...], AfterValidator(_not_empty)]
    across: Across = "highest"
    """How the scores of an event's segments become the event's. highest: the highest of all. mean: the mean over the
    names that it has (user, response), each with its highest; of log-odds, where scores are logistic."""
    pooling: Pooling
    min_tokens: Annotated[int, Field(gt=0)] = 1
    """Segments of fewer tokens are not judged."""
    features: Annotated[tuple[Feature, ...], AfterValidator(_not_empty)]
    bias: Finite = 0.0
    """`weighted` and `probe`: the logit where nothing is active."""
    probe: ProbeRef | None = None
    """`probe` only: what is added to the logit before the features are."""
    condition: Condition
    escalations: tuple[Escalation, ...] = ()
    calibration: Calibration | None = None
    metrics: dict[str, Metric] = Field(default_factory=dict)
    falsepositives: tuple[str, ...] = ()
    known_gaps: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> FeatureSet:
        indices = [f.index for f in self.features]
        repeated = sorted({i for i in indices if indices.count(i) > 1})
        if repeated:
            raise ValueError(f"features: index {repeated[0]} is listed twice")
        if max(indices) >= self.reader.sae.width:
            raise ValueError(f"features: index {max(indices)} is outside the SAE's width {self.reader.sae.width}")
        if (self.probe is not None) != (self.detector == "probe"):
            raise ValueError("probe belongs to a probe detector, and a probe detector needs it")
        if self.detector not in ("threshold", "weighted", "probe"):
            return self  # a detector from a package checks for itself what it needs
        if self.detector in ("weighted", "probe"):
            if self.condition.kind != "score":
                raise ValueError(f"condition: a {self.detector} detector has a score; use kind: score")
            missing = [f.index for f in self.features if f.weight is None]
        elif self.condition.kind == "score":
            missing = [f.index for f in self.features if f.weight is None]
        else:
            missing = [f.index for f in self.features if f.threshold is None]
            if self.condition.k is not None and self.condition.k > len(self.features):
                raise ValueError(f"condition: k = {self.condition.k} of {len(self.features)} features never holds")
        if missing:
            needed = "weight" if self.condition.kind == "score" else "threshold"
            raise ValueError(f"features: index {missing[0]} needs a {needed} under condition {self.condition.kind}")
        if self.condition.kind != "score":  # activations are compared as a ratio, and none is below 0
            always = [f.index for f in self.features if f.threshold is not None and f.threshold <= 0]
            if always:
                raise ValueError(f"features: index {always[0]} needs a threshold above 0")
        return self

    def indices(self) -> tuple[int, ...]:
        """The SAE latents of this set, in file order."""
        return tuple(f.index for f in self.features)

    def columns(self) -> tuple[int | str, ...]:
        """What a reader must hand out for this set: its latents, and behind them its probe, named by its hash."""
        return (*self.indices(), *([] if self.probe is None else [self.probe.sha256]))


class FeatureOverride(_Model):
    """A user's change to one feature, from the config file."""

    enabled: bool = True
    threshold: Finite | None = None
    weight: Finite | None = None


class SetOverride(_Model):
    """A user's change to one set, from the config file."""

    enabled: bool = True
    severity: Severity | None = None
    threshold: Finite | None = None
    """The score from which the set is active; for sets with condition `score`."""
    features: dict[int, FeatureOverride] = Field(default_factory=dict)


def overridden(feature_set: FeatureSet, override: SetOverride) -> FeatureSet:
    """The set with the user's changes. Raises ValueError where a change fits nothing in the set."""
    unknown = sorted(set(override.features) - set(feature_set.indices()))
    if unknown:
        raise ValueError(f"features: {feature_set.id} has no feature {unknown[0]}")
    data: dict[str, Any] = feature_set.model_dump()
    if override.severity is not None:
        data["severity"] = override.severity
        data["escalations"] = ()  # the user's word is final: no score raises it again
    if override.threshold is not None:
        if feature_set.condition.kind != "score":
            raise ValueError(
                f"threshold: {feature_set.id} has condition {feature_set.condition.kind}; set features.INDEX.threshold"
            )
        data["condition"]["at_least"] = override.threshold
    features = []
    for feature in data["features"]:
        change = override.features.get(feature["index"], FeatureOverride())
        if not change.enabled:
            continue
        if change.threshold is not None:
            feature["threshold"] = change.threshold
        if change.weight is not None:
            feature["weight"] = change.weight
        features.append(feature)
    if not features:
        raise ValueError(f"features: every feature of {feature_set.id} is off; use enabled: false for the set")
    data["features"] = features
    return FeatureSet.model_validate(data)
