"""latentwatch's own config in the chart's values.schema.json: `python -m tests.deploy.values_schema` writes it."""

from __future__ import annotations

import json
from typing import Any

from monitor.config.load import config_schema
from tests.deploy.manifest import REPOSITORY

FILE = REPOSITORY / "deploy/helm/latentwatch/values.schema.json"
_ONLY_FOR_EDITORS = {"default", "title", "description", "examples"}


def with_config(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with `config` as this version of latentwatch understands it."""
    config = _plain(config_schema())
    definitions = config.pop("$defs")
    schema["properties"]["config"] = config
    schema["$defs"] = definitions
    return schema


def text(schema: dict[str, Any]) -> str:
    """As it stands in the file."""
    return json.dumps(schema, indent=2) + "\n"


def _plain(node: Any, names: bool = False) -> Any:
    """Without what a validator ignores; `names` says that the keys are names of properties, not words of the schema."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _plain(value, names=key in ("properties", "$defs") and not names)
        for key, value in node.items()
        if names or key not in _ONLY_FOR_EDITORS
    }


if __name__ == "__main__":
    FILE.write_text(text(with_config(json.loads(FILE.read_text()))))
