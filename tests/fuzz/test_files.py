"""A few hundred of the hostile files that `make fuzz` makes by the hundred thousand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.files import TARGETS, run_files
from tests.fuzz.target import Target, fault_of

_CASES = 70 * len(TARGETS)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_the_cases_begin_with_is_read(target: Target, tmp_path: Path) -> None:
    for seed in target.seeds():
        path = target.laid_out(tmp_path)
        path.write_bytes(seed)
        read, fault = fault_of(target, path)
        # the manifest names a graph that is not there, and is refused for that alone
        assert (read, fault) == (target.name != "bundle manifest", "")


def test_every_file_is_read_or_refused_in_words(tmp_path: Path) -> None:
    counts, faults = run_files(0, _CASES, tmp_path)
    assert faults == []
    assert counts.total() == _CASES
    refused = {name for name, state in counts if state == "refused"}
    assert refused == {target.name for target in TARGETS}


def test_the_check_sees_a_broken_promise(tmp_path: Path) -> None:
    def reads(path: Path) -> None:
        raise KeyError("x")

    (tmp_path / "f").write_bytes(b"")
    assert fault_of(Target("t", "f", lambda: [b""], reads), tmp_path / "f") == (False, "KeyError: 'x'")


_BLOCKS = b"llama.block_count\x04\0\0\0"


@pytest.mark.parametrize(
    ("name", "good", "hostile"),
    [
        ("llama_scope, .json", b"13.5", b"1e-320"),
        ("llama_scope, .json", b"0.35", b"1e39"),
        ("llama_scope, .json", b'"d_sae": 64', b'"d_sae": 99999999999999999999'),
        ("lm_saes, .json", b'"expansion_factor": 2', b'"expansion_factor": 1e999, "b": 2'),
        ("model config", b"10000.0", b"-1.5"),
        ("model config", b'"num_hidden_layers": 2', b'"num_hidden_layers": 99999999999999'),
        ("model index", b'"model.safetensors"', b'"%s"' % (b"a" * 3_000)),
        ("GGUF, converted", _BLOCKS + b"\2\0\0\0", _BLOCKS + b"\xff\xff\xff\xff"),
        ("chat template", b"bos_token", b"(" * 1_200),
        ("Neuronpedia", b"eval", b"\\ud800"),
        ("line of bad events", b'"partition": 0', b'"partition": Infinity'),
    ],
)
def test_what_once_broke_a_reader_is_refused_in_words(name: str, good: bytes, hostile: bytes, tmp_path: Path) -> None:
    target = next(target for target in TARGETS if target.name == name)
    (seed, *_) = target.seeds()
    assert good in seed
    path = target.laid_out(tmp_path)
    path.write_bytes(seed.replace(good, hostile))
    assert fault_of(target, path) == (False, "")


_DEEP = 1_000_000
WHOLE_FILES = {
    "lists in lists": b"[" * _DEEP,
    "lists in lists, closed": b"[" * _DEEP + b"]" * _DEEP,
    "objects in objects": b'{"a":' * _DEEP,
    "deep below a key": b'{"metadata":' + b"[" * _DEEP + b"]" * _DEEP + b"}",
    "YAML mappings": b"{a: " * _DEEP,
    "YAML lists": b"- " * _DEEP,
    "a number of 5,000 digits": b'{"a":' + b"1" * 5_000 + b"}",
    "a lone surrogate": b'{"\\ud800":"\\ud800"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "null bytes": bytes(64),
    "a header of 2**64 bytes": b"\xff" * 8 + b"{}",
    "nothing": b"",
}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_file_that_is_hostile_as_a_whole_is_refused_in_words(target: Target, tmp_path: Path) -> None:
    path = target.laid_out(tmp_path)
    faults = {}
    for name, raw in WHOLE_FILES.items():
        path.write_bytes(raw)
        _, faults[name] = fault_of(target, path)
    assert {name: fault for name, fault in faults.items() if fault} == {}
