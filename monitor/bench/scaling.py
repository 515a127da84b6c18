"""Curves: how the reader's cost grows with one variable while all others stay constant."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from monitor.assembly.artefacts import load_artefacts
from monitor.assembly.build import reader_options
from monitor.assembly.compiled_reader import open_reader
from monitor.assembly.engine import window_reader
from monitor.assembly.tokeniser import build_tokeniser
from monitor.bench.budget import Slice
from monitor.bench.results import CurvePoint
from monitor.bench.sizes import BATCH_LENGTH, Sizes
from monitor.bench.workloads import make_workloads, multi_turn
from monitor.compiler.architectures import architecture_of
from monitor.compiler.encoder_inputs import encoder_columns
from monitor.compiler.model_weights import open_model
from monitor.config.sections import Config
from monitor.readers.onnx.bundle import PREFIXES, load_bundle, load_prefixes
from monitor.readers.onnx.reader import OnnxReader
from monitor.readers.reader import Chunk
from monitor.sae.weights import SaeWeights

CURATED = 64
"""Curated features, unless their number is the variable."""
_K = 32
_CACHE_BYTES = 268_435_456


@dataclass(frozen=True)
class _Case:
    """One point that is not measured yet."""

    variable: str
    series: str
    value: int
    tokens: int
    run: Callable[[], object]


class Curves:
    """Measures the curves in a worker process. Points of a curve take turns, so that noise hits them all."""

    def __init__(self, config: Config, bundle: Path, precision: Literal["fp32", "int8"], sizes: Sizes) -> None:
        self._config = config
        self._precision = precision
        self._sizes = sizes
        self._time = Slice()
        self._artefacts = load_artefacts(config)
        self._tokeniser = build_tokeniser(config, load_bundle(bundle).files)
        self._bundle = load_bundle(bundle)
        self._prefixes = load_prefixes(bundle / PREFIXES)
        events = [event for workload in make_workloads(["long"], sizes) for event in workload.events]
        self._ids = np.concatenate([item.ids for item in self._tokeniser.tokenise(events)])

    def measured(self, curve: str, seconds: float) -> list[CurvePoint]:
        """The curve of that name. If it takes longer than `seconds`, there are fewer repetitions."""
        self._time = Slice(seconds)
        points: list[CurvePoint] = getattr(self, curve)()
        return points

    def lengths(self) -> list[CurvePoint]:
        """Sequences of different lengths, with about the same number of tokens in total."""
        reader, tokens = self._shipped(), self._sizes.scaling_tokens
        return self._measure(
            [
                _Case("length", self._name, n, tokens // n * n, self._read(reader, tokens // n, n))
                for n in self._sizes.lengths
            ]
        )

    def batches(self) -> list[CurvePoint]:
        """Batches of different numbers of sequences of 128 tokens."""
        reader = self._shipped()
        return self._measure(
            [
                _Case("batch", self._name, n, n * BATCH_LENGTH, self._read(reader, n, BATCH_LENGTH))
                for n in self._sizes.batches
            ]
        )

    def turns(self) -> list[CurvePoint]:
        """One conversation turn by turn, with and without a prefix cache. Each event is the whole history."""
        items = self._tokeniser.tokenise(multi_turn(1, self._sizes.conversation_turns))
        planners = []
        for series, cache in ((f"{self._name}_cache", _CACHE_BYTES), (self._name, 0)):
            reader = self._shipped(cache)
            planners.append((series, reader, window_reader(self._config, self._tokeniser, reader)))
        seconds: dict[tuple[str, int], list[float]] = {}
        for _ in self._rounds():
            for series, reader, planner in planners:
                reader.cache.clear()
                for turn, item in enumerate(items, 1):
                    started = time.perf_counter()
                    reader.read([window.chunk for window in planner.plan(item.ids)])
                    seconds.setdefault((series, turn), []).append(time.perf_counter() - started)
        return [
            _point("turn", series, turn, int(items[turn - 1].ids.size), times)
            for (series, turn), times in seconds.items()
        ]

    def features(self) -> list[CurvePoint]:
        """Number of curated features of a JumpReLU SAE."""
        with tempfile.TemporaryDirectory(prefix="latentwatch-bench-") as folder:
            cases = [
                self._case("features", "jumprelu", n, Path(folder), _make_sae("jumprelu", self._d_model, n))
                for n in self._sizes.features
            ]
            return self._measure(cases)

    def widths(self) -> list[CurvePoint]:
        """SAEs of different widths: JumpReLU, where only curated latents are computed, and TopK, which needs all."""
        cases = []
        kinds: tuple[Literal["jumprelu", "topk"], ...] = ("jumprelu", "topk")
        with tempfile.TemporaryDirectory(prefix="latentwatch-bench-") as folder:
            for kind in kinds:
                for width in self._sizes.widths:
                    made = _make_sae(kind, self._d_model, width if kind == "topk" else CURATED)
                    cases.append(self._case("sae_width", kind, width, Path(folder), made))
            return self._measure(cases)

    @property
    def _d_model(self) -> int:
        return self._bundle.manifest.model.d_model

    @property
    def _name(self) -> str:
        return f"onnx_{self._precision}"

    def _shipped(self, cache_bytes: int = 0) -> OnnxReader:
        """The reader of the bundle itself."""
        latents, probes = self._artefacts.latents, self._artefacts.probes
        options: dict[str, Any] = reader_options(self._config, 0.0) | {"cache_bytes": cache_bytes}
        return open_reader(self._bundle, self._precision, latents, probes, **options)

    def _case(self, variable: str, kind: str, value: int, folder: Path, sae: SaeWeights) -> _Case:
        """Reads with the model and that SAE."""
        graph = self._graph(kind, folder, sae)
        columns = encoder_columns(
            sae, (), folded=False, turn=self._bundle.turn, precision=self._precision, latents=range(CURATED)
        )
        shape, embeddings = self._bundle.manifest.shape(), self._bundle.embeddings
        options: dict[str, Any] = reader_options(self._config, 0.0)
        reader = OnnxReader(graph, shape, embeddings, columns, **options)
        for prefix in self._prefixes:
            reader.preload(*prefix)
        tokens = self._sizes.scaling_tokens
        return _Case(variable, kind, value, tokens, self._read(reader, tokens // BATCH_LENGTH, BATCH_LENGTH))

    def _graph(self, kind: str, folder: Path, sae: SaeWeights) -> Path:
        """The model with an SAE of that kind, of any width."""
        from monitor.compiler.graph import Graph
        from monitor.compiler.model_graph import add_blocks
        from monitor.compiler.sae_graph import add_encoder

        path = folder / f"{kind}.onnx"
        if not path.exists():
            config, tensors = open_model(self._artefacts.uncompiled("measuring how cost grows").original)
            a, shape, turn = architecture_of(config), self._bundle.manifest.shape(), self._bundle.turn
            with Graph(path) as graph:
                residual = add_blocks(graph, tensors, a, shape.layers, self._precision, turn, shape.max_tokens)
                max_norm = self._artefacts.ref.max_norm
                add_encoder(graph, residual, sae, folded=False, max_norm=max_norm, turn=turn, precision=self._precision)
                graph.save()
        return path

    def _read(self, reader: OnnxReader, sequences: int, length: int) -> Callable[[], object]:
        known = [tokens for tokens, _, _ in self._prefixes]
        past = reader.prefill(max(known, key=len)) if known else None
        chunks = [Chunk(part, past) for part in np.split(np.resize(self._ids, sequences * length), sequences)]
        return lambda: reader.read(chunks)

    def _measure(self, cases: Sequence[_Case]) -> list[CurvePoint]:
        seconds: list[list[float]] = [[] for _ in cases]
        for _ in self._rounds():
            for case, times in zip(cases, seconds, strict=True):
                started = time.perf_counter()
                case.run()
                times.append(time.perf_counter() - started)
        return [_point(c.variable, c.series, c.value, c.tokens, t) for c, t in zip(cases, seconds, strict=True)]

    def _rounds(self) -> Iterator[None]:
        """A round to warm up and the repetitions, as long as there is time for another one."""
        longest_s = 0.0
        for _ in range(self._sizes.scaling_repetitions + 1):
            if self._time.left_s < longest_s:
                return
            started = time.perf_counter()
            yield
            longest_s = max(longest_s, time.perf_counter() - started)


def _point(variable: str, series: str, value: int, tokens: int, times: Sequence[float]) -> CurvePoint:
    """A point from the seconds of its rounds; the first one warmed up and counts only if there is no other."""
    seconds = times[1:] or times
    median = float(np.median(seconds))
    return CurvePoint(
        variable=variable,
        series=series,
        value=value,
        tokens_per_s=tokens / median,
        ms=1e3 * median,
        tokens=tokens,
        spread=(max(seconds) - min(seconds)) / median,
        repetitions=len(times) - 1,
    )


def _make_sae(architecture: Literal["jumprelu", "topk"], d: int, width: int) -> SaeWeights:
    """A random encoder [d, width]; its latents mean nothing, but cost as much as real ones."""
    source = np.random.default_rng(width)
    return SaeWeights(
        architecture=architecture,
        w_enc=source.standard_normal((d, width), dtype=np.float32) / np.float32(np.sqrt(d)),
        b_enc=np.zeros(width, np.float32),
        b_dec=np.zeros(d, np.float32),
        subtract_b_dec=True,
        threshold=np.ones(width, np.float32) if architecture == "jumprelu" else None,
        k=_K if architecture == "topk" else None,
    )
