"""YAML files, read strictly (plain data, no key twice), and pydantic's faults as readable messages."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from monitor.errors import ConfigError

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # PyYAML was built without libyaml: ten times slower, the same data
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

_MAX_DEPTH = 100
"""libyaml composes nodes recursively in C: some ten thousand levels would end the process."""
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")


# in words of YAML, where pydantic's are those of Python
_LIST, _MAPPING = "expected a list", "expected keys and values"
_RULES = {
    "extra_forbidden": "unknown key",
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), _LIST),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type"), _MAPPING),
}


class _StrictLoader(_Loader):
    """Safe loader that refuses what YAML parsers read silently in a way that nobody means.

    A key given twice (the last one would count), and numbers that YAML 1.1 reads in another base: 0013 would be 11,
    and 1:30 would be 90.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *anchor`; the loader adds its keys below
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise _refused(f"the key {key!r} is given twice", key_node)
                seen.add(key)
        return super().construct_mapping(node, deep)

    def number(self, node: yaml.ScalarNode) -> int | float:
        """A number in base 10, or with a base that is written out, such as 0x1f."""
        text = node.value
        if _OCTAL.fullmatch(text) or _BASE_60.fullmatch(text):
            base = "base 8" if _OCTAL.fullmatch(text) else "base 60"
            raise _refused(f"{text} is a number in {base}; write it in base 10, or in quotes if it is text", node)
        if node.tag == "tag:yaml.org,2002:int":
            return self.construct_yaml_int(node)
        return self.construct_yaml_float(node)


def _refused(rule: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, rule, node.start_mark)


for _tag in ("int", "float"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _StrictLoader.number)


def load_yaml(path: Path) -> tuple[dict[str, Any], bytes]:
    """The mapping in a YAML file, and the file's bytes. Raises ConfigError with file, line and rule."""
    raw = read_bytes(path)
    return parse_yaml(path, raw), raw


def parse_yaml(path: Path, raw: bytes) -> dict[str, Any]:
    """The mapping in the bytes of a YAML file; `path` is for messages. Raises ConfigError with file, line and rule."""
    try:
        _check_depth(path, raw)
        # a subclass of the safe loader: builds only plain data
        data = yaml.load(raw, Loader=_StrictLoader)  # noqa: S506
    except yaml.MarkedYAMLError as e:
        line = f":{e.problem_mark.line + 1}" if e.problem_mark is not None else ""
        raise ConfigError(f"{path}{line}: {e.problem}") from None
    except (yaml.YAMLError, ValueError) as e:  # ValueError: a date such as 2025-13-01
        raise ConfigError(f"{path}: not YAML: {_one_line(e)}") from None
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected keys and values at the top")
    return data


def _check_depth(path: Path, raw: bytes) -> None:
    depth = 0
    for event in yaml.parse(raw, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            line = f":{event.start_mark.line + 1}" if event.start_mark is not None else ""
            raise ConfigError(f"{path}{line}: nested more than {_MAX_DEPTH} levels deep")


def read_bytes(path: Path) -> bytes:
    """The bytes of a file. Raises ConfigError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def faults(
    where: Path | str, error: ValidationError, whole: str, renamed: Mapping[str, str] | None = None
) -> list[str]:
    """Where, key and rule of each fault; `whole` is used instead of the key if the fault is in no single key.

    `renamed` says what to write instead of an unknown key, by its name at the top or by its section and name
    (`pooling.over`).
    """
    return [
        f"{where}: {'.'.join(map(str, fault['loc'])) or whole}: "
        f"{rule(fault['type'], fault['msg'])}{_instead(fault['type'], fault['loc'], renamed or {})}"
        for fault in error.errors(include_url=False)
    ]


def _instead(kind: str, keys: tuple[str | int, ...], renamed: Mapping[str, str]) -> str:
    if kind != "extra_forbidden":
        return ""
    name = str(keys[0]) if len(keys) == 1 else f"{keys[0]}.{keys[-1]}"
    return f"; {renamed[name]}" if name in renamed else ""


def rule(kind: str, message: str) -> str:
    """The broken rule as a message, from a fault's type and message."""
    return _RULES.get(kind) or message.removeprefix("Value error, ")
