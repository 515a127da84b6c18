"""Verifies a bundle: reads many events in both precisions and writes into the manifest how they decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from monitor.assembly.artefacts import Artefacts
from monitor.assembly.build import reader_options
from monitor.assembly.compiled_reader import open_reader
from monitor.assembly.engine import assemble_engine
from monitor.assembly.self_test import compare, run_self_test
from monitor.assembly.tokeniser import build_tokeniser
from monitor.compiler.calibration_events import CalibrationEvent
from monitor.compiler.compile import write_manifest
from monitor.compiler.precision_trials import PrecisionTrials
from monitor.config.sections import Config
from monitor.readers.onnx.bundle import Bundle
from monitor.readers.onnx.reader import OnnxReader
from monitor.tokens.tokeniser import EventTokeniser

_RESIDUAL_EVENTS = 100


def verify(
    config: Config,
    artefacts: Artefacts,
    bundle: Bundle,
    events: Sequence[CalibrationEvent],
    progress: Callable[[str], None],
) -> Bundle:
    """The bundle with a verification in its manifest, also on disk. Raises ConfigError if fp32 fails its self-test."""
    tokeniser = build_tokeniser(config, bundle.files)
    further = artefacts.further
    exact, rounding = (
        open_reader(bundle, name, artefacts.latents, artefacts.probes, further, **reader_options(config, 0.5))
        for name in ("fp32", "int8")
    )
    test = run_self_test(bundle, exact, rounding, artefacts.latents, further)
    comparison = compare(test, artefacts.sets, artefacts.columns)
    scores = []
    for name, reader in (("fp32", exact), ("int8", rounding)):
        progress(f"scoring {len(events)} events in {name}")
        scores.append(_scores(config, artefacts, tokeniser, reader, events))
    texts = [item.ids for item in tokeniser.tokenise([e.event for e in events]) if item.ids.size]
    longest = bundle.manifest.model.max_tokens
    read = [[reader.residual(ids[:longest]) for ids in texts[:_RESIDUAL_EVENTS]] for reader in (exact, rounding)]
    trials = PrecisionTrials(
        sets=artefacts.sets,
        events=events,
        tokens=sum(int(ids.size) for ids in texts),
        exact=scores[0],
        found=scores[1],
        margins=comparison.margins,
        residuals=(np.concatenate(read[0]), np.concatenate(read[1])),
        max_norm=artefacts.ref.max_norm,
    )
    manifest = bundle.manifest.model_copy(update={"verification": trials.verification()})
    write_manifest(bundle.folder, manifest)
    return replace(bundle, manifest=manifest)


def _scores(
    config: Config,
    artefacts: Artefacts,
    tokeniser: EventTokeniser,
    reader: OnnxReader,
    events: Sequence[CalibrationEvent],
) -> NDArray[np.float64]:
    """Scores [event, set]; NaN if the event has no segment that the set looks at."""
    found = assemble_engine(config, artefacts, tokeniser, reader).scores([e.event for e in events])
    return np.array([[math.nan if (s := of[n.set.id]) is None else s.value for n in artefacts.sets] for of in found])
