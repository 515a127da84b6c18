"""YAML files read strictly (plain data, no key twice), and the faults that pydantic finds in a file, in words."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from monitor.errors import ConfigError


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, of which YAML parsers silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *anchor`; SafeLoader puts its keys in below
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key!r} is given twice", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)


def load_yaml(path: Path) -> tuple[dict[str, Any], bytes]:
    """The mapping in a YAML file, and the file's bytes. Raises ConfigError with file, line and rule."""
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from None
    try:
        # a subclass of SafeLoader: builds plain data alone
        data = yaml.load(raw, Loader=_StrictLoader)  # noqa: S506
    except yaml.MarkedYAMLError as e:
        line = f":{e.problem_mark.line + 1}" if e.problem_mark is not None else ""
        raise ConfigError(f"{path}{line}: {e.problem}") from None
    except (yaml.YAMLError, ValueError) as e:  # ValueError: a date such as 2025-13-01
        raise ConfigError(f"{path}: not YAML: {_one_line(e)}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected keys and values at the top")
    return data, raw


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def faults(where: Path | str, error: ValidationError, whole: str) -> list[str]:
    """Where, key and rule of each fault; `whole` stands for the key where the fault is in none of them."""
    return [
        f"{where}: {'.'.join(map(str, fault['loc'])) or whole}: {rule(fault['type'], fault['msg'])}"
        for fault in error.errors(include_url=False)
    ]


def rule(kind: str, message: str) -> str:
    """The broken rule in plain words, from a fault's type and message."""
    return "unknown key" if kind == "extra_forbidden" else message.removeprefix("Value error, ")
