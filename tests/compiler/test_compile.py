"""Compiling: what is left on disk."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detectors.feature_set import ReaderRef
from monitor.assembly.compiled_reader import open_reader
from monitor.compiler.calibration_events import CalibrationEvent
from monitor.compiler.compile import CompileInputs, compilable, compile_bundle
from monitor.errors import ConfigError
from monitor.model.files import converted, find_model
from monitor.model.gguf_model import GgufModel
from monitor.readers.onnx.bundle import load_bundle
from monitor.readers.onnx.manifest import BUNDLE_FORMAT
from monitor.readers.reader import Chunk
from monitor.sae.formats.saelens import load_saelens
from monitor.tokens.chat_template import ChatTemplate
from monitor.tokens.tokeniser import EventTokeniser
from tests.model.gguf.small_gguf import D, make_package
from tests.reader_model import event
from tests.saelens import save_sae
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
    def failing(step: str) -> None:
        if "hashes" in step:
            raise error("stop")

    with pytest.raises(error):
        source.compile(tmp_path / "deep" / "bundle", progress=failing)
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_process_that_was_faster(source: TinySource, tmp_path: Path) -> None:
    out = tmp_path / "bundle"

    def slow(step: str) -> None:
        if "hashes" in step:
            source.compile(out)

    with pytest.raises(ConfigError, match=rf"^{out}: another process made it in the meantime"):
        source.compile(out, progress=slow)
    assert load_bundle(out).manifest.format == BUNDLE_FORMAT
    assert list(tmp_path.iterdir()) == [out]


_KILLED = """
import os, signal, sys
from pathlib import Path
from tests.tiny_bundle import TinySource
def die(step):
    if "hashes" in step:
        os.kill(os.getpid(), signal.SIGKILL)
TinySource(Path(sys.argv[1]), sys.argv[2]).compile(Path(sys.argv[3]), progress=die)
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


def test_an_sae_of_another_width(source: TinySource, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^reader\.sae: the SAE reads activations of 48 channels, but the model has 32"
    ):
        compilable(source.model, load_saelens(save_sae(tmp_path, "standard", 48, 96)), 0)


def test_quantised_weights_are_named(tmp_path: Path) -> None:
    made = tiny_source(tmp_path)
    edit_config(made.model.folder, quantization_config={"quant_method": "awq", "bits": 4})
    with pytest.raises(
        ConfigError, match=r"config\.json: the weights are quantised \(awq\), which is not compiled; use"
    ):
        compilable(made.model, load_saelens(tmp_path / "sae"), 0)


def test_a_model_that_is_not_built(tmp_path: Path) -> None:
    made = tiny_source(tmp_path / "source")
    edit_config(made.model.folder, model_type="gpt2")
    with pytest.raises(ConfigError, match=r"config\.json: model_type: 'gpt2' is not built as a graph"):
        made.compile(tmp_path / "out" / "bundle")
    assert list((tmp_path / "out").iterdir()) == []


def test_events_of_which_nothing_is_left_to_read(source: TinySource, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^no event of the self-test has any text$"):
        source.compile(tmp_path / "bundle", events=[CalibrationEvent(event("", event_id="empty"))])


def test_without_onnx(source: TinySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "monitor.compiler.graph", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"^compiling needs onnx; run: pip install 'latentwatch\[compile\]'$"):
        source.compile(tmp_path / "bundle")


def test_progress_counts_the_steps(source: TinySource, tmp_path: Path) -> None:
    told: list[str] = []
    source.compile(tmp_path / "b", progress=told.append)
    numbers = [re.match(r"compiling the reader \((\d) of 4: .+\)$", line) for line in told]
    assert [int(n[1]) for n in numbers if n is not None] == [1, 2, 3, 4]
    assert None not in numbers


def test_files_are_readable_by_all_and_the_graph_loads_from_elsewhere(source: TinySource, tmp_path: Path) -> None:
    """A bundle is made by one user and read by another, in an image or from a volume."""
    bundle = source.compile(tmp_path / "bundle")
    assert bundle.folder.stat().st_mode & 0o777 == 0o755
    assert {f.stat().st_mode & 0o777 for f in bundle.folder.iterdir() if f.name in bundle.manifest.files} == {0o644}
    moved = bundle.folder.rename(tmp_path / "moved")
    assert open_reader(load_bundle(moved), "fp32", LATENTS).read([Chunk(texts(5)[0])])[0].shape == (5, len(LATENTS))


FOUR_BIT = {
    "none": (),
    "all": ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"),
    "some": ("attn_q", "attn_k", "ffn_down"),  # queries, keys and values are one product, so it is dense
}


@pytest.mark.parametrize("name", FOUR_BIT)
def test_a_gguf_is_compiled_without_converting_it(name: str, tmp_path: Path) -> None:
    """The same graphs come out as of the model in transformers layout, but weights in 4 bits stay so in fp32."""
    gguf = make_package(tmp_path / "package", four_bit=FOUR_BIT[name])
    model = find_model(str(gguf), None, tmp_path / "cache")
    assert isinstance(model, GgufModel)
    bundles = []
    for n, given in enumerate((model, converted(GgufModel(gguf, model.sha256, tmp_path / "converted")))):
        save_sae(tmp_path / f"sae-{n}", "jumprelu", D, 64)
        inputs = CompileInputs(
            model=given,
            sae=load_saelens(tmp_path / f"sae-{n}"),
            ref=ReaderRef.model_validate(
                {
                    "model": "small",
                    "model_sha256": model.sha256,
                    "layer": 0,
                    "sae": {"path": "sae", "sha256": "0" * 64, "width": 64},
                }
            ),
            tokeniser=lambda files: EventTokeniser.load(files.tokenizer_file, ChatTemplate(files.chat_template())),
            events=[event("Hello there", "Well?")],
        )
        bundles.append(compile_bundle(inputs, tmp_path / f"bundle-{n}"))
    assert not (tmp_path / "cache").exists()
    direct, detour = (b.manifest.files for b in bundles)
    assert [b.manifest.model.four_bit for b in bundles] == [name != "none", False]
    assert (direct["fp32.onnx.data"] == detour["fp32.onnx.data"]) == (name == "none")
    for file in ("int8.onnx.data", "tokenizer.json"):
        assert direct[file] == detour[file]
    sizes = [(b.folder / "fp32.onnx.data").stat().st_size for b in bundles]
    assert name == "none" or sizes[0] < sizes[1]
    readers = [open_reader(bundle, "fp32", range(64)) for bundle in bundles]
    (found,), (expected,) = (reader.read([Chunk(np.arange(1, 9, dtype=np.int32))]) for reader in readers)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
