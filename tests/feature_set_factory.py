"""Made-up feature sets for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from detectors.feature_set import FeatureSet


def set_data(**changes: Any) -> dict[str, Any]:
    """A valid threshold set over latents 3 and 7, as a YAML file would hold it."""
    data: dict[str, Any] = {
        "id": "unsafe-code",
        "version": "1.0.0",
        "title": "Unsafe code",
        "category": "unsafe_code",
        "severity": "medium",
        "status": "test",
        "description": "Code that harms whoever runs it.",
        "definition": "Texts labelled unsafe.",
        "reader": {
            "model": "a-model",
            "model_sha256": "a" * 64,
            "layer": 9,
            "sae": {"path": "sae", "sha256": "b" * 64, "width": 16},
        },
        "detector": "threshold",
        "segments": ["response"],
        "pooling": {"kind": "max"},
        "features": [
            {"index": 3, "label": "shell injection", "label_score": 0.9, "threshold": 2.0},
            {"index": 7, "label": "eval of input", "label_score": 0.8, "threshold": 4.0},
        ],
        "condition": {"kind": "any"},
    }
    return {**data, **changes}


def summed_data(**changes: Any) -> dict[str, Any]:
    """A valid threshold set that has a score over latents 3 and 7, and not a condition."""
    data = set_data(
        features=[
            {"index": 3, "label": "shell injection", "label_score": 0.9, "weight": 0.5},
            {"index": 7, "label": "eval of input", "label_score": 0.8, "weight": -0.25},
        ],
        threshold=0.5,
    )
    del data["condition"]
    return {**data, **changes}


def weighted_data(**changes: Any) -> dict[str, Any]:
    """A valid weighted set over latents 3 and 7."""
    return summed_data(**{"detector": "weighted", "bias": -1.0, **changes})


PROBE = "c" * 64


def probe_data(**changes: Any) -> dict[str, Any]:
    """A valid probe set over latents 3 and 7."""
    return weighted_data(**{"detector": "probe", "probe": PROBE, **changes})


def make_probe(**changes: Any) -> FeatureSet:
    """A probe set."""
    return FeatureSet.model_validate(probe_data(**changes))


def make_summed(**changes: Any) -> FeatureSet:
    """A threshold set with a score."""
    return FeatureSet.model_validate(summed_data(**changes))


def make_set(**changes: Any) -> FeatureSet:
    """A threshold set."""
    return FeatureSet.model_validate(set_data(**changes))


def make_weighted(**changes: Any) -> FeatureSet:
    """A weighted set."""
    return FeatureSet.model_validate(weighted_data(**changes))


def write_set(path: Path, **changes: Any) -> Path:
    """A threshold set as a file."""
    return write_yaml(path, set_data(**changes))


def write_yaml(path: Path, data: dict[str, Any]) -> Path:
    """Any set as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data))
    return path
