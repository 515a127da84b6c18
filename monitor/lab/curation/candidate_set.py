"""CandidateSet: the candidates as a feature set of threshold detectors, ready to be checked, named and calibrated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from detectors.feature_set import FeatureSet, ReaderRef
from monitor.lab.curation.candidates import FeatureCandidate
from monitor.lab.reading.shard_pooling import POOLINGS
from monitor.lab.reading.top_tokens import KEPT


def feature_line(candidate: FeatureCandidate) -> str:
    """One item of `features`, as YAML on one line."""
    before, after = around_label(candidate)
    return f"{before}{json.dumps(candidate.contexts.label, ensure_ascii=False)}{after}"


def around_label(candidate: FeatureCandidate) -> tuple[str, str]:
    """The text before and after the label of a `features` item. The label between them is quoted as in JSON."""
    rest = {"threshold": candidate.threshold.value, "evidence": _evidence(candidate)}
    flow = yaml.safe_dump(rest, default_flow_style=True, allow_unicode=True, width=1_000_000, sort_keys=False)
    return f"- {{index: {candidate.latent}, label: ", f", {flow.strip().removeprefix('{')}"


def set_text(
    category: str,
    candidates: Sequence[FeatureCandidate],
    reader: ReaderRef,
    segments: Sequence[str],
    pooling: str,
    files: tuple[Sequence[str], Sequence[str]],
    target_fpr: float,
    together: float,
) -> str:
    """The text of the set's YAML file. `files` are the names of the labelled and of the benign files;
    `together` is the share of benign texts that reach any of the thresholds."""
    data, benign = (", ".join(Path(name).name for name in names) for names in files)
    n = candidates[0].threshold.reached.size
    body: dict[str, Any] = {
        "id": f"{category}_candidates",
        "title": f"{category.replace('_', ' ').capitalize()}: candidates",
        "version": "0.1.0",
        "status": "experimental",
        "severity": "low",
        "category": category,
        "definition": f"Positive are the rows of label 1 in {data}; nobody has looked at the latents yet.",
        "description": f"Text that single latents mark as similar to the rows of label 1 in {data}.",
        "segments": list(segments),
        "detector": "threshold",
        "pooling": POOLINGS[pooling].model_dump(mode="json", exclude_none=True, exclude_defaults=True),
        "condition": {"kind": "any"},
        "known_gaps": [
            f"Each threshold lets at most {target_fpr:.3g} of the {n} texts of {benign} through; together they let "
            f"{together:.3g} of them through. Calibrate before use, on benign texts that were not used here.",
            "Ranking, thresholds and figures are from the same rows; measure the set on other sources.",
        ],
        "reader": reader.model_dump(mode="json", exclude_none=True),
    }
    features = [yaml.safe_load(feature_line(c))[0] for c in candidates]
    FeatureSet.model_validate({**body, "features": features})
    after = {key: body.pop(key) for key in ("known_gaps", "reader")}
    lines = [
        "# Written by latentwatch lab curate; figures are measured, not typed in.",
        yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=118, default_flow_style=None).rstrip(),
        f"# Labels are the {KEPT} strongest tokens; look at the pages and replace them by what the contexts show.",
        "features:",
        *(feature_line(c) for c in candidates),
        yaml.safe_dump(after, sort_keys=False, allow_unicode=True, width=118).rstrip(),
    ]
    return "\n".join(lines) + "\n"


def _evidence(candidate: FeatureCandidate) -> str:
    figures = candidate.figures
    by_source = figures.auroc_by_source
    mean = sum(by_source.values()) / len(by_source)
    auroc = f"AUROC {mean:.2f}"
    if len(by_source) > 1:
        auroc += f" on average over {len(by_source)} sources, {figures.worst_auroc:.2f} in the worst"
    return (
        f"lab curate, rank {candidate.rank}: {auroc}; active on {figures.benign_texts:.1%} of benign texts; "
        f"label from the {KEPT} strongest tokens"
    )
