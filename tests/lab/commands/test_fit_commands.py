"""The commands that made the shipped sets: what they say if something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from monitor.cli.app import app
from monitor.errors import ConfigError


def lab(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["lab", *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["make-sets", "{out}", "--data", "{out}", "--recipes", "{out}/none.yaml"], "{out}/none.yaml: cannot be read"),
        (["make-sets", "{out}", "--data", "{out}", "--model", "{out}/none"], "{out}/none"),
        (["layer-sweep", "--data", "{out}", "--layers", "6,x"], "--layers: 6,x: expected whole numbers"),
        (["layer-sweep", "--data", "{out}", "--model", "{out}/none"], "{out}/none"),
    ],
)
def test_what_is_missing_is_named(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = lab(*(argument.format(out=tmp_path) for argument in arguments))
    assert isinstance(done.exception, ConfigError), done.output
    assert message.format(out=tmp_path) in str(done.exception)
