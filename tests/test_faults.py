"""Faults in a file: each names where, which key and which rule."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from monitor.faults import faults


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


def found(data: object) -> list[str]:
    with pytest.raises(ValidationError) as e:
        _Whole.model_validate(data)
    return faults(Path("file.yaml"), e.value, "whole")


def test_every_fault_has_a_line_with_its_key() -> None:
    assert found({"parts": [{"size": 1}, {"size": "x", "sise": 2}], "more": 3}) == [
        "file.yaml: parts.1.size: Input should be a valid integer, unable to parse string as an integer",
        "file.yaml: parts.1.sise: unknown key",
        "file.yaml: more: unknown key",
    ]


def test_a_fault_of_no_key_is_one_of_the_whole() -> None:
    assert found({"parts": []}) == ["file.yaml: whole: no parts"]
