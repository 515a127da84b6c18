"""What a model might have read of rows, made up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monitor.lab.activations import SegmentTable
from monitor.lab.rows import LabelledRow
from monitor.lab.workbench import Texts


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
