"""Edits of YAML files: the values change, everything else stays."""

from __future__ import annotations

import pytest
import yaml

from monitor.errors import ConfigError
from monitor.yaml_edit import YamlEdit

TEXT = """\
# a head
bias: -1.5   # the bias
pooling: {kind: topk_mean, k: 6}  # flow
calibration:  # measured
  benign: 'over
    two lines'
  n: 3  # how many
  interval:
  - 0.1  # low
  - 0.2
# between
features:
- {index: 1, weight: 0.5}  # eins
- index: 2
  weight: .7
last: ~
"""


def edited(*changes: tuple[tuple[str | int, ...], object], text: str = TEXT) -> str:
    edit = YamlEdit("set.yaml", text)
    for path, value in changes:
        edit.set(path, value)  # type: ignore[arg-type]
    return edit.text()


def changed_lines(before: str, after: str) -> list[tuple[str, str]]:
    return [(a, b) for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]


def test_only_the_lines_of_the_values_change() -> None:
    after = edited((("bias",), 2.25), (("features", 1, "weight"), 0.125), (("pooling", "k"), 7))
    assert changed_lines(TEXT, after) == [
        ("bias: -1.5   # the bias", "bias: 2.25   # the bias"),
        ("pooling: {kind: topk_mean, k: 6}  # flow", "pooling: {kind: topk_mean, k: 7}  # flow"),
        ("  weight: .7", "  weight: 0.125"),
    ]


def test_lists_and_texts_of_several_lines() -> None:
    after = edited((("calibration", "interval"), [0.3, 0.4]), (("calibration", "benign"), "a: b # c"))
    assert "  - 0.3  # low\n  - 0.4\n" in after
    assert yaml.safe_load(after)["calibration"] == {"benign": "a: b # c", "n": 3, "interval": [0.3, 0.4]}


def test_new_keys_come_last_in_their_mapping() -> None:
    after = edited((("calibration", "unit"), "logistic"), (("calibration", "basis"), "raw"), (("features", 0, "t"), 1))
    assert "  - 0.2\n  unit: logistic\n  basis: raw\n# between\n" in after
    assert "- {index: 1, weight: 0.5, t: 1}  # eins\n" in after


def test_a_new_mapping_stands_behind_the_named_key() -> None:
    edit = YamlEdit("set.yaml", TEXT)
    edit.add_mapping("record", {"n": 1, "interval": [0.0, 0.5]}, after="pooling")
    assert "# flow\nrecord:\n  n: 1\n  interval: [0.0, 0.5]\ncalibration:" in edit.text()


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("a: 1", ("b",), "a: 1\nb: 9"),
        ("a: 1\r\nb:\r\n  c: 2\r\n", ("b", "d"), "a: 1\r\nb:\r\n  c: 2\r\n  d: 9\r\n"),
        ('{"a": 1, "b": {"c": 2}}', ("b", "c"), '{"a": 1, "b": {"c": 9}}'),
        ("a:\nb: 1\n", ("a",), "a: 9\nb: 1\n"),
        ("é: 'ü😀'\na: 1\n", ("a",), "é: 'ü😀'\na: 9\n"),
        ("a: |\n  text\n\n# note\nb: 1\n", ("a",), "a: 9\n\n# note\nb: 1\n"),
    ],
    ids=["no line end", "windows", "json", "empty value", "not ascii", "block text"],
)
def test_odd_layouts(text: str, path: tuple[str, ...], expected: str) -> None:
    after = edited((path, 9), text=text)
    assert yaml.safe_load(after) == yaml.safe_load(expected)
    if "|" not in text:
        assert after == expected


def test_an_alias_is_refused() -> None:
    text = "a: &x {n: 1}\nb: *x\n"
    for key in "ab":
        with pytest.raises(ConfigError, match=rf"set.yaml: {key}: shared through an alias"):
            edited(((key, "n"), 2), text=text)


def test_faults_name_the_file() -> None:
    with pytest.raises(ConfigError, match=r"set.yaml: not YAML"):
        YamlEdit("set.yaml", "a: [")
    with pytest.raises(ConfigError, match=r"set.yaml: expected keys"):
        YamlEdit("set.yaml", "- a")
    with pytest.raises(ConfigError, match=r"set.yaml: none: missing"):
        edited((("none", "x"), 1))
