"""Ceilings: how fast this machine multiplies matrices of a reader's size, in every precision that it supports.

The product is [1024, 576] times [576, 1536]: a batch of tokens through an MLP of the demo's model. The ceiling is the
best of many rounds with the fastest installed library: onnxruntime's MatMul and torch.mm for fp32, torch.mm for bf16,
onnxruntime's MatMulIntegerToFloat (uint8 times int8) for int8. A reader at its ceiling would spend all its time on
matrix products, at this rate.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.bench.worker_process import WorkerProcess
from monitor.errors import Permanent
from monitor.machine import usable_cores
from monitor.readers.onnx.runtime import onnxruntime

TOKENS, CHANNELS, OUTPUTS = 1_024, 576, 1_536
_ROUNDS = 40


class Ceilings:
    """Measures the rates. Runs in a worker process, because it imports every library."""

    def __init__(self, threads: int, longest_s: float = math.inf) -> None:
        """Rounds of one product stop after `longest_s` seconds."""
        self._longest_s = longest_s
        self._threads = threads or usable_cores()
        self._fastest: dict[str, float] = {}

    def rates(self) -> dict[str, float]:
        """Operations per second by precision: the best since the first call."""
        for measure in (self._onnx, self._torch):
            for precision, seconds in measure():
                rate = 2.0 * TOKENS * CHANNELS * OUTPUTS / seconds
                self._fastest[precision] = max(rate, self._fastest.get(precision, 0.0))
        return dict(self._fastest)

    def _onnx(self) -> Iterator[tuple[str, float]]:
        try:
            from monitor.compiler.graph import Graph
            from monitor.compiler.linear import operand, product
            from monitor.compiler.quantise import quantise_columns
        except ImportError:
            return
        source = np.random.default_rng(0)
        weight = source.standard_normal((CHANNELS, OUTPUTS)).astype(np.float32)
        with tempfile.TemporaryDirectory(prefix="latentwatch-bench-") as folder:
            plain = Graph(Path(folder) / "fp32.onnx")
            x = plain.input("x", "float32", ["token", CHANNELS])
            plain.output(product(plain, operand(plain, x, "fp32"), "w", weight), "y", "float32", ["token", OUTPUTS])
            plain.save()
            rows = source.standard_normal((TOKENS, CHANNELS)).astype(np.float32)
            yield "fp32", self._best(_runner(self._session(Path(folder) / "fp32.onnx"), rows))
            _save_int8(Path(folder) / "int8.onnx", *quantise_columns(weight))
            levels = source.integers(0, 256, (TOKENS, CHANNELS), dtype=np.uint8)
            yield "int8", self._best(_runner(self._session(Path(folder) / "int8.onnx"), levels))

    def _torch(self) -> Iterator[tuple[str, float]]:
        try:
            import torch
        except ImportError:
            return
        torch.set_num_threads(self._threads)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            a = torch.randn(TOKENS, CHANNELS).to(dtype)
            b = torch.randn(CHANNELS, OUTPUTS).to(dtype)
            out = torch.empty(TOKENS, OUTPUTS, dtype=dtype)

            def multiply(a: torch.Tensor = a, b: torch.Tensor = b, out: torch.Tensor = out) -> None:
                torch.mm(a, b, out=out)

            yield name, self._best(multiply)

    def _session(self, graph: Path) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])

    def _best(self, run: Callable[[], object]) -> float:
        """Seconds of the fastest round; anything that disturbs a round only makes it slower."""
        seconds: list[float] = []
        while len(seconds) < _ROUNDS and sum(seconds) < self._longest_s:
            started = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - started)
        return min(seconds)


class Rates:
    """The rates that a worker process has measured so far. If it dies, the benchmark goes on without new ones."""

    def __init__(self, worker: WorkerProcess, skipped: list[str]) -> None:
        """`worker` runs a Ceilings. If it dies, the reason is added to `skipped`."""
        self._worker = worker
        self._skipped = skipped
        self._dead = False
        self.known: dict[str, float] = {}
        """Operations per second by precision, kept after the process dies."""

    def measure(self) -> None:
        """Measures the rates again."""
        if self._dead:
            return
        try:
            self.known = self._worker.call("rates")
        except Permanent as e:
            self._dead = True
            self._skipped.append(f"ceilings: {e}")


def _save_int8(path: Path, weight: NDArray[np.int8], scales: NDArray[np.float32]) -> None:
    """One product of levels [token, channel] with weights [channel, out], without the quantisation before it."""
    from monitor.compiler.graph import CONTRIB, Graph

    graph = Graph(path)
    y = graph.add(
        "MatMulIntegerToFloat",
        graph.input("x", "uint8", ["token", CHANNELS]),
        graph.constant("w", weight),
        graph.constant("unit", np.array(1 / 127, np.float32)),
        graph.constant("scales", scales),
        graph.constant("zero_point", np.array(128, np.uint8)),
        domain=CONTRIB,
    )
    graph.output(y, "y", "float32", ["token", OUTPUTS])
    graph.save()


def _runner(session: onnxruntime.InferenceSession, x: NDArray[Any]) -> Callable[[], object]:
    return lambda: session.run(None, {"x": x})
