"""The residual stream of whole conversations, put together from the windows they are read in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.readers.torch_reader import TorchReader
from monitor.readers.windows import WindowPlanner
from monitor.tokens.tokeniser import Tokenised


def item_residuals(
    reader: TorchReader, planner: WindowPlanner, items: Sequence[Tokenised]
) -> list[NDArray[np.float32]]:
    """The residual stream [token, d] of each item. `reader` must return the residual itself, not SAE activations."""
    windows = [(n, w) for n, item in enumerate(items) for w in planner.plan(item.ids)]
    residuals = [np.zeros((item.ids.size, reader.d_model), np.float32) for item in items]
    for (n, window), values in zip(windows, reader.read([w.chunk for _, w in windows]), strict=True):
        residuals[n][window.start : window.start + window.new] = values[-window.new :]
    return residuals
