"""Change: one difference between two configs, in words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr

from monitor.config.allow import Allowed
from monitor.config.rules import Rule
from monitor.config.sections import Config

LIVE_SECTIONS = ("feature_sets", "alerts", "log")
"""What a running sidecar takes from a changed config. Everything else is opened or built at start."""
_HIDDEN = "(hidden)"
_USER_IN_URL = re.compile(r"(?<=://)[^/\s]*@")


@dataclass(frozen=True)
class Change:
    """`before` and `after` are plain data without secrets; None on the side that has nothing there."""

    key: str
    words: str
    before: Any
    after: Any
    needs_restart: bool = False
    """Whether a running sidecar refuses it."""


def config_changes(before: Config, after: Config) -> Iterator[Change]:
    """Every difference of two configs, section by section."""
    for name in Config.model_fields:
        for change in _changes(name, getattr(before, name), getattr(after, name)):
            yield replace(change, needs_restart=name not in LIVE_SECTIONS)


def _changes(key: str, before: Any, after: Any) -> Iterator[Change]:
    if before == after:
        return
    if _is_mapping(before) and _is_mapping(after):
        old, new = dict(before), dict(after)
        for name in dict.fromkeys((*old, *new)):
            yield from _changes(f"{key}.{name}", old.get(name), new.get(name))
    elif _are_named(before) and _are_named(after) and (before or after):
        yield from _named_changes(key, before, after)
    else:
        yield Change(key, f"{_shown(before)} → {_shown(after)}", plain(before), plain(after))


def _is_mapping(value: Any) -> bool:
    return isinstance(value, BaseModel | Mapping)


def _are_named(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, Rule | Allowed) for item in value)


def _named_changes(key: str, before: Sequence[Rule | Allowed], after: Sequence[Rule | Allowed]) -> Iterator[Change]:
    """Rules and entries of the allow-list, by their names; the order of rules matters, so a move is a change."""
    old, new = ({item.name: item for item in items} for items in (before, after))
    for name in dict.fromkeys((*old, *new)):
        one, other = old.get(name), new.get(name)
        if one is None and other is not None:
            yield Change(f"{key}.{name}", f"new: {_described(other)}", None, plain(other))
        elif one is not None and other is None:
            yield Change(f"{key}.{name}", f"removed: {_described(one)}", plain(one), None)
        elif one is not None and other is not None and one != other:
            yield Change(f"{key}.{name}", f"{_described(one)} → {_described(other)}", plain(one), plain(other))
    stayed = [name for name in old if name in new], [name for name in new if name in old]
    if stayed[0] != stayed[1]:
        words = f"order: {', '.join(stayed[0])} → {', '.join(stayed[1])}"
        yield Change(key, words, *stayed)


def _described(item: Rule | Allowed) -> str:
    if isinstance(item, Allowed):
        prompts = [f"the prompt {sha256[:12]}..." for sha256 in item.system_sha256]
        prompts += [f"prompts like {_shown(pattern)}" for pattern in item.system_pattern]
        parts = f" in {', '.join(item.segments)}" if item.segments else ""
        return f"{', '.join(prompts)} silence {', '.join(item.sets)}{parts}"
    scope = " and ".join(f"{key} {' or '.join(patterns)}" for key, patterns in item.when if patterns)
    changes = [f"{item.sampling:.4g} of the events are read"] if item.sampling is not None else []
    for set_id, change in item.sets.items():
        given = ", ".join(_said(key, value) for key, value in change if value is not None)
        changes.append(f"{set_id if set_id != '*' else 'all sets'} {given}")
    return f"for {scope}: {'; '.join(changes)}"


def _said(key: str, value: Any) -> str:
    return ("on" if value else "off") if key == "enabled" else f"{key} {plain(value)}"


def plain(value: Any) -> Any:
    """The value as JSON has it, with secrets hidden."""
    if isinstance(value, SecretStr | SecretBytes):
        return _HIDDEN
    if isinstance(value, BaseModel):
        return {key: plain(inner) for key, inner in value}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _USER_IN_URL.sub(f"{_HIDDEN}@", str(value))


def _shown(value: Any) -> str:
    found = plain(value)
    return "none" if found is None else found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
