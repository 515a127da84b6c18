"""YAML is read strictly, and every refusal names file and line; faults name where, which key and which rule."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from monitor.errors import ConfigError
from monitor.yaml_file import faults, load_yaml


def load(folder: Path, text: str | bytes) -> dict[str, object]:
    path = folder / "a.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_yaml(path)[0]


def test_a_mapping_and_the_bytes_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a: {b: [1, x]}\r\n")
    assert load_yaml(path) == ({"a": {"b": [1, "x"]}}, b"a: {b: [1, x]}\r\n")


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing but a comment\n", "---\n"])
def test_an_empty_file_is_an_empty_mapping(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == {}


def test_anchors_and_merges(tmp_path: Path) -> None:
    text = "base: &base {a: 1, b: 2}\nfirst: {<<: *base, b: 3}\nsecond: *base\nthird: {<<: *base}\n"
    data = load(tmp_path, text)
    assert data["first"] == {"a": 1, "b": 3}
    assert data["second"] == data["third"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-7", -7),
        ("0x1f", 31),
        ("1_000", 1000),
        ("0.5", 0.5),
        ("010.5", 10.5),
        ('"0013"', "0013"),
        (".inf", float("inf")),
    ],
)
def test_numbers_that_say_what_they_are(tmp_path: Path, text: str, value: object) -> None:
    assert load(tmp_path, f"a: {text}\n") == {"a": value}


BAD: dict[str, tuple[str | bytes, str]] = {
    "key_twice": ("a: 1\nb: 2\na: 3\n", r":3: the key 'a' is given twice"),
    "key_twice_deep_inside": ("a:\n  - b:\n      c: 1\n      c: 1\n", r":4: the key 'c' is given twice"),
    "number_key_twice": ("1: a\n0x1: b\n", r":2: the key 1 is given twice"),
    "list_at_the_top": ("- a\n", "expected keys and values at the top"),
    "text_at_the_top": ("just text\n", "expected keys and values at the top"),
    "two_documents": ("a: 1\n---\nb: 2\n", ":2: but found another document"),
    "tab": ("a:\n\tb: 1\n", ":2: found character.* that cannot start any token"),
    "unclosed": ("a: [1, 2\n", ":2: .*expected ',' or ']'"),
    "python_object": ("a: !!python/object/apply:os.getcwd []\n", ":1: could not determine a constructor"),
    "unhashable_key": ("? [a]\n: 1\n", ":1: found unhashable key"),
    "unknown_alias": ("a: *b\n", ":1: found undefined alias"),
    "impossible_date": ("a: 2025-13-01\n", "not YAML: month must be in 1..12"),
    "not_utf8": (b"a: \xff\n", "not YAML: .*position 3"),
    "control_character": ("a: \x01\n", "not YAML: .*characters are not allowed"),
    "nested_too_deeply": ("a: " + "[" * 200_000 + "]" * 200_000, ":1: nested more than 100 levels deep"),
    "lists_nested_too_deeply": ("a:\n" + "- " * 200_000, ":2: nested more than 100 levels deep"),
    "base_8": ("a: 1\nindex: 0013\n", ":2: 0013 is a number in base 8; write it in base 10, or in quotes"),
    "base_60": ("at: 1:30\n", ":1: 1:30 is a number in base 60"),
    "base_60_with_a_fraction": ("at: {x: 1:30.5}\n", ":1: 1:30.5 is a number in base 60"),
    "base_8_key": ("07: a\n", ":1: 07 is a number in base 8"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_files_are_refused_for_their_fault(tmp_path: Path, fault: str) -> None:
    text, rule = BAD[fault]
    with pytest.raises(ConfigError, match=f"^{tmp_path}/a.yaml.*{rule}") as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no.yaml: cannot be read: No such file or directory"):
        load_yaml(tmp_path / "no.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_yaml(tmp_path)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int


class _Whole(BaseModel):
    model_config = ConfigDict(extra="forbid")
    parts: list[_Part]

    @model_validator(mode="after")
    def _some(self) -> _Whole:
        if not self.parts:
            raise ValueError("no parts")
        return self


def found(data: object, renamed: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ValidationError) as e:
        _Whole.model_validate(data)
    return faults(Path("file.yaml"), e.value, "whole", renamed)


def test_every_fault_has_a_line_with_its_key() -> None:
    assert found({"parts": [{"size": 1}, {"size": "x", "sise": 2}], "more": 3}) == [
        "file.yaml: parts.1.size: Input should be a valid integer, unable to parse string as an integer",
        "file.yaml: parts.1.sise: unknown key",
        "file.yaml: more: unknown key",
    ]


def test_a_renamed_key_says_what_to_write() -> None:
    renamed = {"more": "it is now called less", "parts.sise": "it is now called size", "size": "never said"}
    assert found({"parts": [{"size": 1, "sise": 2}], "more": 3}, renamed) == [
        "file.yaml: parts.0.sise: unknown key; it is now called size",
        "file.yaml: more: unknown key; it is now called less",
    ]


def test_a_fault_of_no_key_is_one_of_the_whole() -> None:
    assert found({"parts": []}) == ["file.yaml: whole: no parts"]


def test_pyyaml_without_libyaml_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: {b: [1, 0.5, x]}\nc: 2026-11-30\nindex: 7\nindex: 8\n")
    code = f"""
import yaml
del yaml.CSafeLoader
import subprocess
import sys
from pathlib import Path
from monitor.errors import ConfigError
from monitor.yaml_file import load_yaml, parse_yaml
path = Path({str(path)!r})
try:
    load_yaml(path)
except ConfigError as e:
    print(e)
print(parse_yaml(path, path.read_bytes().replace(b"index: 8", b"")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    refused, data = done.stdout.splitlines()
    assert refused == f"{path}:4: the key 'index' is given twice"
    assert data == str(load(tmp_path, "a: {b: [1, 0.5, x]}\nc: 2026-11-30\nindex: 7\n"))
