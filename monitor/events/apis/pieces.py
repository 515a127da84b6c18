"""Pieces: puts the objects of a streamed response together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from monitor.events.said import NAME_KEYS, READ_KEYS


def merged(pieces: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """One object of all deltas: text is appended, lists are merged by `index`, the rest is replaced.

    What can't be merged, such as text and a list, becomes a list of both, so that nothing said is lost.
    """
    whole: dict[str, Any] = {}
    for piece in pieces:
        _merge(whole, piece)
    return whole


def items_of(value: object) -> list[Any]:
    """`value` if it is a list, else an empty one: a broken piece has nothing to add."""
    return value if isinstance(value, list) else []


# text that is said again whole in each piece, other than what is said
_REPEATED = frozenset(("role", "type", "id", "name", "finish_reason", "object", "model", "format", "call_id"))


def _merge(whole: dict[str, Any], piece: dict[str, Any]) -> None:
    for key, value in piece.items():
        old = whole.get(key)
        if _is_empty(value) and key in whole:
            continue  # an empty piece takes nothing back
        if isinstance(value, str) and isinstance(old, str) and key not in _REPEATED:
            whole[key] = old + value
        elif isinstance(value, dict) and isinstance(old, dict) and not _of_other_kind(value, old):
            _merge(old, value)
        elif isinstance(value, list) and isinstance(old, _Items):
            _merge_list(old, value)
        elif key not in _REPEATED and not _is_empty(value) and _holds(old) and not _alike(old, value):
            whole[key] = _both(old, value)
        elif isinstance(value, dict):
            whole[key] = merged([value])
        elif isinstance(value, list):
            whole[key] = _Items()
            _merge_list(whole[key], value)
        elif value is not None and value != "":
            whole[key] = value
        else:
            whole.setdefault(key, value)


class _Items(list[Any]):
    """A list that is put together from pieces, and finds its items by their `index`."""

    def __init__(self) -> None:
        super().__init__()
        self.by_index: dict[int, dict[str, Any]] = {}


def _is_empty(value: object) -> bool:
    return value is None or value in ("", [], {})


def _holds(value: object) -> bool:
    return isinstance(value, str | list | dict) and bool(value)


def _alike(old: object, value: object) -> bool:
    """Whether the later value may take the place of the earlier one. Text and lists that get here are put together."""
    return type(old) is type(value) and not isinstance(value, dict)


def _of_other_kind(value: dict[str, Any], old: dict[str, Any]) -> bool:
    """Whether `value` is an object of another type than the one before it, and not more of the same."""
    # a turn has only fields with known names; those of others would be lost in it
    foreign = "role" in old and bool(value) and value.keys().isdisjoint(READ_KEYS | NAME_KEYS)
    return bool(old) and (foreign or value.get("type") not in (None, "", old.get("type")))


def _both(old: Any, value: Any) -> list[Any]:
    """Both, because both were said; text follows on text without a break."""
    found = old
    if not isinstance(found, _Items):
        found = _Items()
        _merge_list(found, old if isinstance(old, list) else [old])
    if isinstance(value, str) and isinstance(found[-1], str):
        found[-1] += value
    else:
        _merge_list(found, value if isinstance(value, list) else [value])
    return found


def _merge_list(old: _Items, new: list[Any]) -> None:
    for item in new:
        index = item.get("index") if isinstance(item, dict) else None
        if isinstance(index, int) and index in old.by_index:
            _merge(old.by_index[index], item)
            continue
        old.append(merged([item]) if isinstance(item, dict) else item)
        if isinstance(index, int):
            old.by_index[index] = old[-1]
