"""LiveReaders: the readers of a running engine, which can take the columns and the sets of a new config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from detectors.feature_set import FeatureSet
from monitor.assembly.artefacts import Artefacts
from monitor.assembly.compiled_reader import bundle_columns
from monitor.assembly.self_test import compare, run_self_test
from monitor.errors import ConfigError
from monitor.readers.onnx.bundle import Bundle
from monitor.readers.onnx.columns import Columns
from monitor.readers.onnx.hook_columns import HookColumns
from monitor.readers.onnx.manifest import PrecisionName
from monitor.readers.onnx.reader import OnnxReader
from monitor.sets.load import LoadedSet

# A margin is the noise of a score, which doesn't depend on the threshold, the severity or the texts about the set
_SCORE_KEYS = ("segments", "combine_segments", "detector", "pooling", "condition", "bias", "probe", "features")


@dataclass(frozen=True)
class CompiledReaders:
    """What reads events: one reader, or one that rounds and an exact one for events near a threshold."""

    reader: OnnxReader
    exact: OnnxReader | None = None
    margins: Mapping[str, float] | None = None
    """By set id: how near a threshold the exact reader is asked."""

    @property
    def in_float32(self) -> OnnxReader:
        """The reader whose activations do not round."""
        return self.exact or self.reader


@dataclass(frozen=True)
class NextReading:
    """How the readers will read for other sets."""

    sets: tuple[LoadedSet, ...]
    columns: tuple[int | str, ...]
    """Those of the readers from then on."""
    latents: tuple[int, ...] = ()
    """The first of the columns."""
    further: tuple[HookColumns, ...] = ()
    """The last of the columns: those of the hook points after the deepest."""
    encoders: Mapping[PrecisionName, Columns] = field(default_factory=dict)
    """By precision; empty if the readers have all columns already."""
    unmeasured: tuple[LoadedSet, ...] = ()
    """Sets whose rounding noise is not known yet."""


class LiveReaders(Protocol):
    """Changes in two steps: the slow one in any thread, the one that touches the readers between two batches."""

    def prepare(self, artefacts: Artefacts) -> NextReading:
        """How to read for the sets of `artefacts`. Raises ConfigError if that needs a restart."""

    def use(self, reading: NextReading) -> Mapping[str, float] | None:
        """Reads like this from now on. Returns the margins of the sets; None if no reader rounds.

        Raises ConfigError, and reads as before, if a reader is not right.
        """


class CompiledLiveReaders:
    """Readers of a bundle. It holds the whole SAE, so nothing is compiled for a new set."""

    def __init__(self, bundle: Bundle, readers: CompiledReaders, artefacts: Artefacts) -> None:
        """`readers` have the columns of `artefacts`, and margins of its sets."""
        self._bundle = bundle
        self._readers = readers
        self._latents = artefacts.latents
        self._further = artefacts.further
        self._columns = artefacts.columns
        self._measured = {loaded.set.id: loaded.set for loaded in artefacts.sets}
        self._margins = dict(readers.margins or {})

    def prepare(self, artefacts: Artefacts) -> NextReading:
        rounding = self._readers.exact is not None
        unmeasured = tuple(s for s in artefacts.sets if rounding and not self._is_measured(s.set))
        if set(artefacts.columns) <= set(self._columns):
            return NextReading(artefacts.sets, self._columns, self._latents, self._further, unmeasured=unmeasured)
        latents, probes, further = artefacts.latents, artefacts.probes, artefacts.further
        encoders = {name: bundle_columns(self._bundle, name, latents, probes, further) for name in self._by_precision()}
        return NextReading(artefacts.sets, artefacts.columns, latents, further, encoders, unmeasured)

    def use(self, reading: NextReading) -> Mapping[str, float] | None:
        readers = self._by_precision()
        before = {name: reader.columns for name, reader in readers.items()}
        for name, columns in reading.encoders.items():
            readers[name].use_columns(columns)
        try:
            margins = self._margins | self._measure(reading)
        except ConfigError:
            for name, columns in before.items():
                readers[name].use_columns(columns)
            raise
        self._latents, self._further, self._columns = reading.latents, reading.further, reading.columns
        self._measured = {loaded.set.id: loaded.set for loaded in reading.sets}
        self._margins = {name: margin for name, margin in margins.items() if name in self._measured}
        return None if self._readers.exact is None else self._margins

    def _by_precision(self) -> dict[PrecisionName, OnnxReader]:
        if self._readers.exact is None:
            return {"fp32": self._readers.reader}
        return {"fp32": self._readers.exact, "int8": self._readers.reader}

    def _is_measured(self, new: FeatureSet) -> bool:
        old = self._measured.get(new.id)
        return old is not None and all(getattr(old, key) == getattr(new, key) for key in _SCORE_KEYS)

    def _measure(self, reading: NextReading) -> dict[str, float]:
        """Margins of the sets without one. Raises ConfigError if new columns do not pass the self-test."""
        if self._readers.exact is not None and reading.unmeasured:
            test = run_self_test(
                self._bundle, self._readers.exact, self._readers.reader, reading.latents, reading.further
            )
            return dict(compare(test, reading.unmeasured, reading.columns).margins)
        if reading.encoders:
            texts = self._bundle.reference("fp32").texts
            found = self._readers.in_float32.read_uncached(texts)
            self._bundle.check("fp32", reading.latents, found, reading.further)
        return {}


class FixedReaders:
    """A reader whose columns cannot change, such as the torch reader."""

    def __init__(self, columns: Sequence[int | str]) -> None:
        self._columns = tuple(columns)

    def prepare(self, artefacts: Artefacts) -> NextReading:
        if not set(artefacts.columns) <= set(self._columns):
            raise ConfigError("feature_sets: sets that use other features need a restart with reader.engine: torch")
        return NextReading(artefacts.sets, self._columns)

    def use(self, reading: NextReading) -> None:  # noqa: ARG002 - no reader changes, and none rounds
        return None
