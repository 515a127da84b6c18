"""Options that several lab commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from monitor.errors import ConfigError


class Precision(StrEnum):
    """Number formats of torch."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


ModelOption = Annotated[str, typer.Option(help="As reader.model in the config.")]
DtypeOption = Annotated[Precision, typer.Option(help="Precision of the model.")]
DeviceOption = Annotated[str, typer.Option(help="Torch device.")]
SetOption = Annotated[list[str], typer.Option("--set", help="Id or category of a set, or the path of its YAML file.")]
LabelledOption = Annotated[
    list[Path], typer.Option("--data", help="JSONL or Parquet file of labelled rows; repeatable.")
]
BenignOption = Annotated[list[Path], typer.Option("--benign", help="File of harmless rows or events; repeatable.")]
DataFolderOption = Annotated[
    list[Path], typer.Option("--data", help="Folder with the files that the recipe names; repeatable.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="YAML config file; default: no file.", show_default=False)
]
SeedOption = Annotated[int, typer.Option(help="Seed of samples, splits and intervals.")]
LimitOption = Annotated[
    int | None, typer.Option(help="Most rows per file, drawn with the seed; pairs stay whole.", min=1)
]
JsonOption = Annotated[Path | None, typer.Option("--json", help="File for the figures as a JSON array.")]


def whole_numbers(text: str, option: str) -> tuple[int, ...]:
    """The numbers in a comma-separated option. Raises ConfigError if one is not a whole number."""
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ConfigError(f"{option}: {text}: expected whole numbers separated by commas") from None


def write_file(path: Path, text: str) -> None:
    """Writes the file that an option names. Raises ConfigError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as e:
        raise ConfigError(f"{path}: cannot be written: {e.strerror}") from None
