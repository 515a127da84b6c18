"""The residual stream from a compiled bundle, against torch."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.errors import ConfigError
from monitor.lab.reading.compiled_residual import CompiledResidualReader, compiled_residual_reader
from monitor.readers.reader import Chunk
from monitor.readers.torch_reader import TorchReader
from tests.tiny_bundle import LAYER, TinySource, tiny_source


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> TinySource:
    made = tiny_source(tmp_path_factory.mktemp("source"))
    made.compile(made.folder / "bundle")
    return made


def test_it_reads_what_torch_reads(source: TinySource) -> None:
    reader, precision = compiled_residual_reader(source.folder / "bundle", source.model.sha256, LAYER)
    assert precision == "int8"
    torch_reader = TorchReader(source.model.folder, LAYER, lambda x: x, device="cpu", dtype="float32", threads=1)
    assert reader.d_model == torch_reader.d_model
    chunks = [Chunk(np.array(ids, np.int32)) for ids in ([4, 9, 12, 30, 7], [22, 5])]
    for found, expected in zip(reader.read(chunks), torch_reader.read(chunks), strict=True):
        assert found.shape == expected.shape
        assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)


def test_another_model_or_layer_is_refused(source: TinySource) -> None:
    for sha256, layer in (("0" * 64, LAYER), (source.model.sha256, LAYER + 1)):
        with pytest.raises(ConfigError, match="made for another model or layer"):
            compiled_residual_reader(source.folder / "bundle", sha256, layer)


def test_tokens_that_were_left_out_are_infinite() -> None:
    class Reader:
        def read(self, chunks: list[Chunk]) -> list[np.ndarray]:
            return [np.array([[9, 1, 2], [0, 0, 0]], np.float32)]

    (found,) = CompiledResidualReader(Reader(), 2).read([])  # type: ignore[arg-type]
    assert found.tolist() == [[1, 2], [np.inf, np.inf]]
