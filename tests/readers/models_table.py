"""Prints the table of docs/models.md: which architectures are read by which engine, and what holds them to it.

python -m tests.readers.models_table
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator

from monitor.model.gguf.config import FAMILIES
from tests import tiny_model
from tests.readers import random_models

HEADER = (
    "| `model_type` | Compiled reader | Torch reader | GGUF |",
    "|---|---|---|---|",
)


def rows() -> Iterator[str]:
    """One row for each architecture that a test reads."""
    compiled: dict[str, list[str]] = defaultdict(list)
    for name, config in tiny_model.CONFIGS.items():
        compiled[config().model_type].append(name)
    kept = {config().model_type for config in random_models.CONFIGS.values()}
    again = {config().model_type for config in random_models.RECURRENT.values()}
    gguf = {family.model_type: name for name, family in FAMILIES.items()}
    for kind in sorted({*compiled, *kept, *again}):
        variants = [name.removeprefix(kind).strip("_").replace("_", " ") for name in compiled[kind]]
        cells = (
            f"`{kind}`",
            ", ".join(variant or "plain" for variant in variants) or "refused: `engine: torch`",
            "shared prefixes are read again" if kind in again else "yes" if kind in kept else "",
            f"`{gguf[kind]}`" if kind in gguf else "",
        )
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.stdout.write("\n".join([*HEADER, *rows()]) + "\n")
