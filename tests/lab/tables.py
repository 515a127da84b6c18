"""Made-up segment tables, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from monitor.lab.data.rows import LabelledRow
from monitor.lab.fit.workbench import Texts
from monitor.lab.reading.segment_table import SegmentTable


def texts_of(rows: Sequence[LabelledRow], latents: np.ndarray, residual: np.ndarray | None = None) -> Texts:
    """One entry a row, of its response, with `latents` [row, s] and `residual` [row, d]."""
    count = len(rows)
    table = SegmentTable(
        row=np.arange(count),
        segment=np.array(["response"] * count),
        turn=np.array([len(row.turns) for row in rows]),
        tokens=np.full(count, 10, np.int32),
        latents=latents.astype(np.float16),
        residual=(latents if residual is None else residual).astype(np.float32),
    )
    return Texts.of(list(rows), table, prior_tokens=0)


def recipes_data(**changes: Any) -> dict[str, Any]:
    """Recipes of one set on chat, fitted on file a, with `changes` to it; harmless chat and code to fit on."""
    text = dict.fromkeys(("id", "version", "title", "category", "description", "definition"), "x")
    sources = [{"file": "a", "family": "a"}]
    one = {**text, "severity": "low", "segments": ["response"], "benign": "chat", "sources": sources, **changes}
    numbers = {
        "layer": 1,
        "max_norm": 9,
        "prior_tokens": 0,
        "keep": 4,
        "c": 1.0,
        "target_fpr": 0.1,
        "rows_per_source": 9,
    }
    benign = [{"file": kind, "kind": kind, "rows": 9, "role": "fit"} for kind in ("chat", "code")]
    return {"model": "x", **numbers, "benign": benign, "sets": [one]}
