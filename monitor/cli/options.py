"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="YAML config file (default: built-in defaults).", show_default=False),
]

DeviceOption = Annotated[
    str | None, typer.Option(help="Torch device, for example cuda; overrides reader.device.", show_default=False)
]
