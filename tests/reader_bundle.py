"""The real reader model and the shipped SAE, compiled for the tests."""

from __future__ import annotations

from pathlib import Path

from monitor.assembly.artefacts import load_model_artefacts
from monitor.assembly.bundle_cache import compile_artefacts
from monitor.config.sections import Config
from monitor.readers.onnx.bundle import Bundle
from tests.reader_model import PACKAGE


def compile_reader(out: Path) -> Bundle:
    """A bundle of them."""
    config = Config.model_validate({"reader": {"model": PACKAGE}})
    return compile_artefacts(config, load_model_artefacts(config), out)
