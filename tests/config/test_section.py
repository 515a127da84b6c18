"""Sections are changed with validation."""

from __future__ import annotations

import pytest

from monitor.config.sections import Config
from monitor.errors import ConfigError


def test_a_change_leaves_the_rest_and_the_original_as_they_were() -> None:
    before = Config()
    after = before.changed(reader=before.reader.changed(engine="torch", device="cuda:1"))
    assert (before.reader.device, after.reader.device) == ("cpu", "cuda:1")
    assert after.changed(reader=before.reader) == before == Config()


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        (
            {"device": "cuda"},
            ["config: ReaderConfig: device cuda needs engine: torch; the onnx engine runs on the CPU"],
        ),
        ({"precision": "int4"}, ["config: precision: Input should be 'auto', 'fp32' or 'int8'"]),
        ({"modle": "x"}, ["config: modle: unknown key"]),
        (
            {"threads": -1, "window_tokens": 1},
            [
                "config: window_tokens: Input should be greater than or equal to 64",
                "config: threads: Input should be greater than or equal to 0",
            ],
        ),
    ],
)
def test_a_change_that_breaks_a_rule_is_refused(change: dict[str, object], problems: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Config().reader.changed(**change)
    assert [*caught.value.problems] == problems
