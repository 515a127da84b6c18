"""GgufFile reads what the gguf package writes, and says what is wrong with anything else."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from monitor.model.gguf.file import GgufFile
from tests.model.gguf.small_gguf import make_package


def test_the_same_as_the_gguf_package_reads(tmp_path: Path) -> None:
    path = make_package(tmp_path / "tiny_model")
    reader, file = gguf.GGUFReader(path), GgufFile.open(path)
    assert file.architecture == "llama"
    kinds: set[type] = set()
    for key, field in reader.fields.items():
        if not key.startswith("GGUF."):
            value = field.contents()
            kinds.add(type(value))
            assert file._metadata[key] == value
            assert type(file._metadata[key]) is type(value)
    assert kinds == {str, int, float, bool, list}
    assert list(file.tensors) == [tensor.name for tensor in reader.tensors]
    for tensor in reader.tensors:
        ours = file.tensors[tensor.name]
        assert ours.shape == tuple(tensor.shape[::-1].tolist())
        assert np.array_equal(gguf.dequantize(ours.data, ours.kind).reshape(ours.shape), tensor.data)


def test_a_file_that_was_split_reads_as_the_whole_one(tmp_path: Path) -> None:
    whole = GgufFile.open(make_package(tmp_path / "whole"))
    make_package(tmp_path / "split", split_max_tensors=5)
    parts = sorted((tmp_path / "split").glob("*.gguf"))
    assert len(parts) == 4
    file = GgufFile.open(parts[0])
    assert set(file.tensors) == set(whole.tensors)
    for name, tensor in whole.tensors.items():
        assert np.array_equal(file.tensors[name].data, tensor.data)
    assert {key: value for key, value in file._metadata.items() if not key.startswith("split.")} == whole._metadata
    lonely = parts[0].rename(tmp_path / "part.gguf")
    with pytest.raises(ValueError, match=r"^split\.tensors\.count: \d+, but there are 5 tensors; the names of split"):
        GgufFile.open(lonely)


def test_all_value_types_and_another_alignment(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_custom_alignment(4096)
    numbers = {"uint8": 200, "int8": -3, "uint16": 60_000, "int16": -4, "uint32": 4_000_000_000, "int32": -5}
    numbers |= {"uint64": 2**40, "int64": -(2**40), "float32": 0.5, "float64": 0.1}
    for kind, value in numbers.items():
        getattr(writer, f"add_{kind}")(kind, value)
    writer.add_bool("bool", True)
    writer.add_array("strings", ["", "é", "🎉"])
    writer.add_array("flags", [True, False])
    writer.add_tensor("a", np.arange(3, dtype=np.float16))
    writer.add_tensor("b", np.arange(64, dtype=np.float32).reshape(2, 32), raw_dtype=gguf.GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GgufFile.open(tmp_path / "m.gguf")
    assert {key: file.number(key) for key in numbers} == numbers
    assert file.flag("bool", False) is True
    assert file.array("strings") == ["", "é", "🎉"]
    assert file.array("flags") == [True, False]
    assert gguf.dequantize(file.tensors["a"].data, file.tensors["a"].kind).tolist() == [[0, 1, 2]]
    assert file.tensors["b"].data.view(np.float32).ravel().tolist() == list(range(64))


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    whole = make_package(tmp_path / "tiny_model").read_bytes()
    cut = tmp_path / "cut.gguf"
    # to the last byte of the last tensor; what follows is padding
    for size in [*range(1, 200), *range(200, len(whole) - 128, 997)]:
        cut.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"truncated|not a GGUF|cut short"):
            GgufFile.open(cut)


def test_versions(tmp_path: Path) -> None:
    whole = bytearray(make_package(tmp_path / "tiny_model").read_bytes())
    whole[4:8] = (3).to_bytes(4, "big")
    (tmp_path / "big.gguf").write_bytes(whole)
    with pytest.raises(ValueError, match="GGUF version 50331648; 2 and 3 are read, in little-endian order"):
        GgufFile.open(tmp_path / "big.gguf")


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


@pytest.mark.parametrize(
    ("pairs", "tensors", "message"),
    [
        ([text("general.alignment") + struct.pack("<II", 4, 0)], [], "general.alignment: expected a positive whole"),
        ([text("general.alignment") + struct.pack("<I", 8) + text("x")], [], "general.alignment: expected a positive"),
        ([text("a") + struct.pack("<IIQ", 9, 9, 1)], [], "an array of values of type 9, which is not read"),
        ([text("a") + struct.pack("<I", 13)], [], "a value of type 13, which GGUF does not know"),
        ([], [text("t") + struct.pack("<IQQIQ", 2, 0, 4, 0, 0)], "t: a tensor without values"),
        ([], [text("t") + struct.pack("<IQIQ", 1, 33, 8, 0)], "t: 33 values do not fill blocks of 32"),
        ([], [text("t") + struct.pack("<IQIQ", 1, 32, 999, 0)], "t: its number format 999 is not known to the inst"),
        ([], [text("t") + struct.pack("<IQQIQ", 2, 2**63, 2**63, 0, 0)], "t: the file is cut short"),
    ],
)
def test_files_that_make_no_sense(pairs: list[bytes], tensors: list[bytes], message: str, tmp_path: Path) -> None:
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
    (tmp_path / "m.gguf").write_bytes(header + b"".join([*pairs, *tensors]))
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        GgufFile.open(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        ("count", -1, "k: expected a whole number, got -1"),
        ("count", True, "k: expected a whole number, got True"),
        ("count", [1, 2], "k: expected a whole number, got an array"),
        ("number", "1", "k: expected a number, got '1'"),
        ("text", None, "k: expected text, got nothing"),
        ("array", 3, "k: expected an array, got 3"),
    ],
)
def test_values_of_another_type(read: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        getattr(GgufFile({"k": value} if value is not None else {}, {}), read)("k")
