"""GraphRunner: runs a compiled graph over the next tokens of several sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ConfigError
from monitor.readers.onnx import step
from monitor.readers.onnx.embeddings import Embeddings
from monitor.readers.onnx.kv_pool import KvPool, Rows
from monitor.readers.onnx.runtime import onnxruntime
from monitor.readers.onnx.step import Heads, Step


@dataclass(frozen=True)
class GraphShape:
    """What a reader has to know about a compiled graph."""

    layers: int
    heads: Heads
    head_dim: int
    max_tokens: int
    """The longest past plus chunk."""

    @property
    def token_bytes(self) -> int:
        """Bytes of the keys and values of one token."""
        return 2 * 4 * self.layers * self.heads.kv * self.head_dim


@dataclass(frozen=True)
class NextTokens:
    """The next `tokens` [token] of one sequence, the `rows` [token] for them, and those of its `past` [token]."""

    tokens: NDArray[np.int32]
    past: Rows
    rows: Rows


class GraphRunner:
    """One onnxruntime session on the CPU. It reads keys and values from a pool and writes new ones to it."""

    def __init__(
        self,
        graph: Path,
        shape: GraphShape,
        embeddings: Embeddings | NDArray[np.float32],
        pool: KvPool,
        threads: int,
        packed: bool = True,
    ) -> None:
        """`embeddings` [vocabulary, d_model] are the graph's input.

        `packed` weights are faster to multiply with; if not, they stay in their file, which processes share.
        Raises ConfigError if the graph does not load.
        """
        self._session = _session(graph, threads, packed)
        self._shape = shape
        self._embeddings = embeddings
        self._pool = pool
        self._kv_outputs = [step.new(kind, n) for n in range(shape.layers) for kind in ("keys", "values")]

    def run(
        self, parts: Sequence[NextTokens], inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
    ) -> list[NDArray[np.float32]]:
        """The graph's `outputs` [token, ...] for the tokens of all parts in order. Stores their keys and values.

        `inputs` are those that do not depend on the tokens.
        """
        tokens = np.concatenate([part.tokens for part in parts])
        feed: dict[str, NDArray[Any]] = {step.EMBEDDINGS: self._embeddings[tokens], **inputs}
        feed |= Step([part.tokens.size for part in parts], [part.past for part in parts]).inputs(self._shape.heads)
        for layer in range(self._shape.layers):
            feed[step.past("keys", layer)] = self._pool.keys(layer)
            feed[step.past("values", layer)] = self._pool.values(layer)
        results = self._session.run([*outputs, *self._kv_outputs], feed)
        kv = results[len(outputs) :]
        rows = np.concatenate([part.rows for part in parts])
        for layer in range(self._shape.layers):
            self._pool.write(rows, layer, kv[2 * layer], kv[2 * layer + 1])
        return list(results[: len(outputs)])


def _session(graph: Path, threads: int, packed: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # every run has different sizes; a memory plan for each would pile up
    # two sessions take turns, and the threads of the one that has finished would spin on the other's cores
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not packed:
        options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as e:  # noqa: BLE001 - onnxruntime's errors have no common base class but Exception
        raise ConfigError(f"{graph}: not loaded: {str(e).splitlines()[0]}") from None
