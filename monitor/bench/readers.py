"""latentwatch's readers in the benchmark: from events to activations of their segments, as in the sidecar."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from monitor.assembly.artefacts import load_artefacts
from monitor.assembly.build import EXACT_CACHE, build_torch_reader, load_readers, reader_options
from monitor.assembly.compiled_reader import open_reader
from monitor.assembly.engine import assemble_engine, window_reader
from monitor.assembly.tokeniser import build_tokeniser
from monitor.config.sections import Config
from monitor.engine import Engine
from monitor.events.event import Event
from monitor.readers.batches import token_budgeted
from monitor.readers.onnx.bundle import load_bundle
from monitor.readers.onnx.manifest import PrecisionName
from monitor.readers.onnx.reader import OnnxReader
from monitor.readers.reader import Chunk
from monitor.readers.windows import WindowReader
from monitor.tokens.tokeniser import EventTokeniser, as_index

GROUP_TOKENS = 4_096
"""Events are read in groups of about this many tokens, as in the engine."""


@dataclass(frozen=True)
class Repetition:
    """One pass over some events."""

    seconds: float
    cpu_s: float
    """CPU time of all threads of the process."""
    latencies_s: tuple[float, ...]
    """Latency of each event, from the start of its group to its activations."""
    peak_rss_mb: float
    """Peak memory of the process during the pass."""


class Alternative(Protocol):
    """A way to get from events to activations."""

    def read(self, events: Sequence[Event]) -> Iterator[int]:
        """Reads events in order. After each group or batch, yields its number of events."""

    def fresh(self) -> None:
        """Empties the caches of what it has read."""

    def padding(self, events: Sequence[Event]) -> float:
        """Padding tokens per real token in the products with weights."""


class Measured:
    """Runs one alternative in this process and times it."""

    def __init__(self, alternative: Alternative) -> None:
        self._alternative = alternative

    def run(self, events: Sequence[Event], single: bool = False) -> Repetition:
        """Reads `events`, all at once or, if `single`, one at a time."""
        self._alternative.fresh()
        _forget_peak()
        latencies: list[float] = []
        cpu, started = time.process_time(), time.perf_counter()
        for given in [[event] for event in events] if single else [events]:
            taken = time.perf_counter()
            for count in self._alternative.read(given):
                now = time.perf_counter()
                latencies += [now - taken] * count
                taken = now
        return Repetition(
            seconds=time.perf_counter() - started,
            cpu_s=time.process_time() - cpu,
            latencies_s=tuple(latencies),
            peak_rss_mb=peak_rss_mb(),
        )

    def padding(self, events: Sequence[Event]) -> float:
        """See Alternative.padding."""
        return self._alternative.padding(events)

    def peak(self) -> float:
        """Peak memory so far, in MB; before the first run, that of loading."""
        return peak_rss_mb()


def make_latentwatch(name: str, config: Config, bundle: Path) -> Measured:
    """The reader `torch`, or `onnx_PRECISION`, which may end in `_cache` or `_confirmed`."""
    artefacts = load_artefacts(config)
    if name == "torch":
        torch = config.changed(reader=config.reader.changed(engine="torch", bundle=None))
        tokeniser = build_tokeniser(config, artefacts.model)
        read = build_torch_reader(torch, artefacts.uncompiled("engine: torch"))
        windows = window_reader(config, tokeniser, read)
        return Measured(Plain(tokeniser, windows, len(artefacts.columns), config.reader.batch_size))
    compiled = load_bundle(bundle)
    tokeniser = build_tokeniser(config, compiled.files)
    _, precision, *rest = name.split("_")
    if rest == ["confirmed"]:
        chosen = config.changed(reader=config.reader.changed(precision=precision))
        readers = load_readers(chosen, compiled, artefacts)
        engine = assemble_engine(config, artefacts, tokeniser, readers.reader, readers.exact, readers.margins)
        return Measured(Whole(engine, [r for r in (readers.reader, readers.exact) if r is not None]))
    options = reader_options(config, 1.0 - EXACT_CACHE if rest else 0.0)
    name_of: PrecisionName = "int8" if precision == "int8" else "fp32"
    reader = open_reader(compiled, name_of, artefacts.latents, artefacts.probes, artefacts.further, **options)
    windows = window_reader(config, tokeniser, reader)
    return Measured(Plain(tokeniser, windows, len(artefacts.columns), config.reader.batch_size))


class Plain:
    """Tokeniser and window reader, without detectors."""

    def __init__(self, tokeniser: EventTokeniser, reader: WindowReader, width: int, batch_tokens: int) -> None:
        """`width` is the reader's number of columns; `batch_tokens` is what a reader that pads takes at once."""
        self._tokeniser = tokeniser
        self._reader = reader
        self._width = width
        self._batch_tokens = batch_tokens

    def read(self, events: Sequence[Event]) -> Iterator[int]:
        for group in _groups(events):
            items = self._tokeniser.tokenise(group)
            read = self._reader.read([item.ids for item in items], self._width)
            for item, (values, _) in zip(items, read, strict=True):
                for rows in item.rows:
                    values[as_index(rows)]
            yield len(group)

    def fresh(self) -> None:
        if isinstance(self._reader.reader, OnnxReader):
            self._reader.reader.cache.clear()

    def padding(self, events: Sequence[Event]) -> float:
        if isinstance(self._reader.reader, OnnxReader):
            return 0.0
        padded = real = 0
        for group in _groups(events):
            by_past: dict[int, list[Chunk]] = {}
            for item in self._tokeniser.tokenise(group):
                for window in self._reader.plan(item.ids):
                    by_past.setdefault(id(window.chunk.past), []).append(window.chunk)
            for chunks in by_past.values():
                sizes = [chunk.tokens.size for chunk in chunks]
                for batch in token_budgeted(sizes, self._batch_tokens):
                    padded += len(batch) * max(sizes[n] for n in batch)
                    real += sum(sizes[n] for n in batch)
        return padded / real - 1 if real else 0.0


class Whole:
    """The engine: reading, detectors, confirmation of events near a threshold, and alerts."""

    def __init__(self, engine: Engine, readers: Sequence[OnnxReader]) -> None:
        self._engine = engine
        self._readers = readers

    def read(self, events: Sequence[Event]) -> Iterator[int]:
        for group in _groups(events):
            yield sum(1 for _ in self._engine.evaluate(group))

    def fresh(self) -> None:
        for reader in self._readers:
            reader.cache.clear()

    def padding(self, events: Sequence[Event]) -> float:  # noqa: ARG002 - it never pads
        return 0.0


def peak_rss_mb() -> float:
    """Peak memory of this process since the last `_forget_peak`, in 10^6 bytes; VmHWM in proc(5)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return float("nan")


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak
    except OSError:
        return  # then the peak is that of the whole process


def _groups(events: Sequence[Event]) -> list[list[Event]]:
    """Groups of about GROUP_TOKENS tokens, estimated from characters because nothing is tokenised yet."""
    groups: list[list[Event]] = []
    room = 0
    for event in events:
        size = 4 + (sum(len(m.content) for m in event.messages) + len(event.response)) // 4
        if not groups or size > room:
            groups.append([])
            room = GROUP_TOKENS
        groups[-1].append(event)
        room -= size
    return groups
