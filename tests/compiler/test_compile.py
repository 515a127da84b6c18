"""Compiling: what is left on disk."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.compiler.calibration_events import CalibrationEvent
from monitor.compiler.compile import PrecisionChoice
from monitor.errors import ConfigError
from monitor.model.files import file_sha256
from monitor.readers.onnx.bundle import EXACT_GRAPH, GRAPH, MANIFEST, load_bundle
from monitor.readers.onnx.manifest import BUNDLE_FORMAT
from monitor.readers.onnx.reader import OnnxReader
from monitor.readers.reader import Chunk
from tests.tiny_bundle import LATENTS, TinySource, tiny_source
from tests.tiny_model import edit_config, texts


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> TinySource:
    return tiny_source(tmp_path_factory.mktemp("source"))


def test_a_bundle_is_never_changed(source: TinySource, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    with pytest.raises(ConfigError, match=rf"^{out}: exists already; a bundle is never changed"):
        source.compile(out)
    assert list(tmp_path.iterdir()) == [out]
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, ConfigError])
def test_what_fails_leaves_nothing_behind(error: type[BaseException], source: TinySource, tmp_path: Path) -> None:
    def failing(reader: OnnxReader, events: Sequence[CalibrationEvent]) -> NDArray[np.float64]:
        raise error("stop")

    with pytest.raises(error):
        source.compile(tmp_path / "deep" / "bundle", failing, precision="int8")
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_process_that_was_faster(source: TinySource, tmp_path: Path) -> None:
    out = tmp_path / "bundle"

    def slow(reader: OnnxReader, events: Sequence[CalibrationEvent]) -> NDArray[np.float64]:
        if not out.exists():
            source.compile(out)
        return np.full((len(events), 1), 0.1)

    with pytest.raises(ConfigError, match=rf"^{out}: another process made it in the meantime"):
        source.compile(out, slow, precision="int8")
    assert load_bundle(out).manifest.precision.asked == "fp32"
    assert list(tmp_path.iterdir()) == [out]


_KILLED = """
import os, signal, sys
from pathlib import Path
from tests.tiny_bundle import TinySource
def die(reader, events):
    os.kill(os.getpid(), signal.SIGKILL)
TinySource(Path(sys.argv[1]), sys.argv[2]).compile(Path(sys.argv[3]), die, precision="int8")
"""


def test_a_process_that_is_killed_leaves_no_bundle(source: TinySource, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(source.folder), source.kind, str(out)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    assert source.compile(out).manifest.format == BUNDLE_FORMAT  # and nothing stands in the way of the next


def test_a_layer_that_the_model_does_not_have(source: TinySource, tmp_path: Path) -> None:
    deep = TinySource(source.folder, source.kind)
    deep.__dict__["ref"] = source.ref.model_copy(update={"layer": 3})
    with pytest.raises(ConfigError, match=r"^reader\.layer: 3, but the model has blocks 0 to 2$"):
        deep.compile(tmp_path / "bundle")


def test_a_model_that_is_not_built(tmp_path: Path) -> None:
    made = tiny_source(tmp_path / "source")
    edit_config(made.model.folder, model_type="gpt2")
    with pytest.raises(ConfigError, match=r"config\.json: model_type: 'gpt2' is not built as a graph"):
        made.compile(tmp_path / "out" / "bundle")
    assert list((tmp_path / "out").iterdir()) == []


def test_events_of_which_nothing_is_left_to_read(source: TinySource, tmp_path: Path) -> None:
    from tests.reader_model import event

    with pytest.raises(ConfigError, match=r"^no calibration event has any text$"):
        source.compile(tmp_path / "bundle", events=[CalibrationEvent(event("", event_id="empty"))])


def test_without_onnx(source: TinySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "monitor.compiler.graph", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"^compiling needs onnx; run: pip install 'latentwatch\[compile\]'$"):
        source.compile(tmp_path / "bundle")


@pytest.mark.parametrize(("precision", "steps"), [("fp32", 2), ("int8", 4)])
def test_progress_counts_the_steps(source: TinySource, tmp_path: Path, precision: PrecisionChoice, steps: int) -> None:
    told: list[str] = []

    def score(reader: OnnxReader, events: Sequence[CalibrationEvent]) -> NDArray[np.float64]:
        return np.full((len(events), 1), 0.1)

    source.compile(tmp_path / "b", score, precision=precision, progress=told.append)
    numbers = [re.match(rf"compiling the reader \((\d) of {steps}: .+\)$", line) for line in told]
    assert sorted({int(n[1]) for n in numbers if n is not None}) == list(range(1, steps + 1))
    assert None not in numbers


def test_files_are_readable_by_all_and_the_graph_loads_from_elsewhere(source: TinySource, tmp_path: Path) -> None:
    """A bundle is made by one user and read by another, in an image or from a volume."""
    bundle = source.compile(tmp_path / "bundle")
    assert bundle.folder.stat().st_mode & 0o777 == 0o755
    assert {f.stat().st_mode & 0o777 for f in bundle.folder.iterdir() if f.name in bundle.manifest.files} == {0o644}
    moved = bundle.folder.rename(tmp_path / "moved")
    assert (moved / GRAPH).is_file()
    assert load_bundle(moved).reader(LATENTS).read([Chunk(texts(5)[0])])[0].shape == (5, len(LATENTS))


def test_the_exact_graph_has_a_self_test_of_its_own(source: TinySource, tmp_path: Path) -> None:
    def scores(reader: OnnxReader, events: Sequence[CalibrationEvent]) -> NDArray[np.float64]:
        return np.full((len(events), 1), 0.1)

    folder = source.compile(tmp_path / "bundle", scores, precision="int8").folder
    assert load_bundle(folder).exact_reader(LATENTS) is not None
    weights = folder / f"{EXACT_GRAPH}.data"
    (np.fromfile(weights, np.float32) * np.float32(1.5)).tofile(weights)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][weights.name] = file_sha256(weights)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    bundle = load_bundle(folder)
    bundle.reader(LATENTS)
    with pytest.raises(ConfigError, match=r"self-test: .* reference texts differ by .* more than 0\.001;"):
        bundle.exact_reader(LATENTS)
