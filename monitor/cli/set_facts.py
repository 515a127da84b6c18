"""set_facts: one set's names, rates and recall, for machines."""

from __future__ import annotations

from statistics import median
from typing import Any

from detectors.feature_set import FeatureSet
from monitor.sets.load import LoadedSet


def set_facts(loaded: LoadedSet) -> dict[str, Any]:
    """The figures of a set as its files and the config have it; null where nothing was measured."""
    used, calibration = loaded.set, loaded.set.calibration
    scores = [feature.label_score for feature in used.features if feature.label_score is not None]
    return {
        "id": used.id,
        "title": used.title,
        "version": used.version,
        "status": used.status,
        "sha256": loaded.sha256,
        "detector": used.detector,
        "severity": used.severity,
        "segments": list(used.segments),
        "features": len(used.features),
        "named_features": sum(feature.named for feature in used.features),
        "named_share": named_share(used),
        "median_label_score": round(median(scores), 4) if scores else None,
        "threshold": used.threshold,
        "target_fpr": None if calibration is None else calibration.target_fpr,
        "measured_fpr": None if calibration is None else calibration.measured_fpr,
        "recall_at_threshold": {
            name: metric.recall_at_threshold for name, metric in used.metrics.items() if metric.held_out
        },
        "languages": None if used.languages is None else list(used.languages),
    }


def named_share(used: FeatureSet) -> float | None:
    """The part of the positive weight that named features have; None if the set has no positive weights."""
    weights = [(feature.weight or 0.0, feature.named) for feature in used.features]
    total = sum(weight for weight, _ in weights if weight > 0)
    return round(sum(weight for weight, named in weights if named and weight > 0) / total, 4) if total else None
