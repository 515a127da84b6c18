"""The tables of docs/configuration.md, from the config models: `python -m tests.config.documented_keys` prints them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from monitor.config.mapping import ONE_OR_MORE
from monitor.config.sections import ENV_PREFIX, Config
from monitor.config.sinks import SinksConfig, sinks_model

_NAMES = {str: "text", bool: "true, false", int: "whole number", float: "number", Path: "path", SecretStr: "secret"}


@dataclass(frozen=True)
class Key:
    """One row: a key of the config file."""

    path: str
    values: str
    default: str
    meaning: str

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return ENV_PREFIX + self.path.upper().replace(".", "__")

    def row(self) -> str:
        """The line of the table."""
        return f"| `{self.path}` | {self.values} | {self.default} | {self.meaning} | `{self.variable}` |"


@dataclass(frozen=True)
class Section:
    """One table."""

    path: str
    meaning: str
    keys: tuple[Key, ...]

    def table(self) -> str:
        """The whole section as Markdown."""
        head = "| Key | Values | Default | Meaning | Variable |\n|---|---|---|---|---|"
        return f"## {self.path}\n\n{self.meaning}\n\n" + "\n".join([head, *(k.row() for k in self.keys)])


def sections(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[Section]:
    """Every section that has keys of its own, in file order."""
    inner: list[tuple[str, type[BaseModel]]] = []
    keys: list[Key] = []
    fields = {info.alias or name: info for name, info in _whole(model).model_fields.items()}
    for name, info in fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            inner.append((f"{prefix}{name}", section))
        else:
            keys.append(Key(f"{prefix}{name}", _values(info), _default(info), info.description or ""))
    if keys:
        yield Section(prefix.rstrip("."), model.__doc__ or "", tuple(keys))
    for path, section in inner:
        yield from sections(section, f"{path}.")


def _whole(model: type[BaseModel]) -> type[BaseModel]:
    """The model with the keys that are not declared in it: the sinks' sections."""
    return sinks_model() if model is SinksConfig else model


def _values(info: FieldInfo) -> str:
    if info.examples:
        return f"{', '.join(f'`{value}`' for value in info.examples)}, or the name of a plugin"
    if ONE_OR_MORE in info.metadata:
        return "JSON path, `header:NAME`, or a list of them"
    text = _type_name(info.annotation)
    for rule in [m for m in info.metadata if isinstance(m, Gt | Ge | Le)]:
        text += {Gt: " over {}", Ge: " from {}", Le: " to {}"}[type(rule)].format(_bound(rule))
    return text


def _bound(rule: Gt | Ge | Le) -> Any:
    return rule.gt if isinstance(rule, Gt) else rule.ge if isinstance(rule, Ge) else rule.le


def _type_name(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return ", ".join(f"`{v}`" for v in get_args(annotation))
    if origin in (Union, UnionType):
        return ", ".join([*(_type_name(a) for a in get_args(annotation) if a is not NoneType)])
    if origin is tuple:
        item = get_args(annotation)[0]
        return "list of sections" if isinstance(item, type) and issubclass(item, BaseModel) else "list of text"
    if origin is dict:
        return "mapping"
    return _NAMES[annotation]


def _default(info: FieldInfo) -> str:
    default = info.get_default(call_default_factory=True)
    if default is None:
        return "none"
    if isinstance(default, Path):
        default = str(default)
    if isinstance(default, str):
        return f"`{default}`"
    return f"`{json.dumps(default)}`"


if __name__ == "__main__":
    print("\n\n".join(section.table() for section in sections()))  # noqa: T201
