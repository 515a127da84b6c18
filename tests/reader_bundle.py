"""The real reader model and the shipped SAE, compiled for the tests."""

from __future__ import annotations

from pathlib import Path

from monitor.assembly.artefacts import load_model_artefacts
from monitor.assembly.bundle_cache import compile_artefacts
from monitor.compiler.calibration_events import load_calibration_events
from monitor.config.sections import Config
from monitor.readers.onnx.bundle import Bundle
from tests.reader_model import PACKAGE

CALIBRATION_EVENTS = 60


def compile_reader(out: Path) -> Bundle:
    """A bundle in int8 with the graph in float32, whatever this machine would choose."""
    config = Config.model_validate({"reader": {"model": PACKAGE, "precision": "int8"}})
    events = load_calibration_events(limit=CALIBRATION_EVENTS)
    return compile_artefacts(config, load_model_artefacts(config), out, "int8", events, lambda _: None)
