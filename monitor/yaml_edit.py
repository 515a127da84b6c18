"""YamlEdit: changes single values of a YAML file and keeps its comments and layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from monitor.errors import ConfigError

Step = str | int
Value = str | int | float | Sequence[float] | Mapping[str, Any]


class YamlEdit:
    """Collects changes to the text of one file and puts them in place of the old values.

    Source of the positions: the marks of PyYAML's nodes, which count characters of the text.
    """

    def __init__(self, name: str, text: str) -> None:
        """`name` is what messages call the file. Raises ConfigError if it is not a YAML mapping."""
        self._name = name
        self._text = text
        self._spliced: list[tuple[int, int, str]] = []
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as e:
            raise ConfigError(f"{name}: not YAML: {' '.join(str(e).split())}") from None
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{name}: expected keys and values at the top")
        self._root = root
        self._shared = _shared(root)

    def set(self, path: Sequence[Step], value: Value) -> None:
        """Replaces a value, or adds it as the last key of its mapping, which must exist.

        Raises ConfigError if the value is used in several places (an alias), so that it cannot be changed by itself.
        """
        parent = self._node(path[:-1])
        node = _child(parent, path[-1])
        if node is None:
            self._add(path, parent, value)
        elif isinstance(node, yaml.SequenceNode) and isinstance(value, list | tuple) and len(node.value) == len(value):
            for n, item in enumerate(value):
                self.set((*path, n), item)
        else:
            self._check_unshared(path, node)
            start, end = node.start_mark.index, _end(node)
            space = " " if start == end and self._text[start - 1 : start] == ":" else ""
            self._spliced.append((start, end, space + _written(value)))

    def add_mapping(self, key: str, values: dict[str, Any], after: str) -> None:
        """Adds a mapping at the top of the document, after the key `after`, or at the end if there is no such key."""
        last = _child(self._root, after) or self._root.value[-1][1]
        if self._root.flow_style:
            self._spliced.append((_end(last), _end(last), f", {key}: {_flow(values)}"))
            return
        lines = "".join(f"  {name}: {_written(value)}\n" for name, value in values.items())
        self._insert_line(_end(last), f"{key}:\n{lines}")

    def text(self) -> str:
        """The text with all changes."""
        text = self._text
        # from the end, so that positions stay valid; of two additions in one place, the first comes first
        for _, (start, end, new) in sorted(enumerate(self._spliced), key=lambda s: (s[1][0], s[0]), reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def _node(self, path: Sequence[Step]) -> yaml.Node:
        node: yaml.Node = self._root
        for step in path:
            found = _child(node, step)
            if found is None:
                raise ConfigError(f"{self._name}: {_shown(path)}: missing")
            self._check_unshared(path, found)
            node = found
        return node

    def _add(self, path: Sequence[Step], parent: yaml.Node, value: Value) -> None:
        if not isinstance(parent, yaml.MappingNode) or not parent.value:
            raise ConfigError(f"{self._name}: {_shown(path)}: there is no mapping to add it to")
        line = f"{path[-1]}: {_written(value)}"
        end = _end(parent.value[-1][1])
        if parent.flow_style:
            self._spliced.append((end, end, f", {line}"))
        else:
            self._insert_line(end, " " * parent.value[0][0].start_mark.column + line + "\n")

    def _insert_line(self, after: int, lines: str) -> None:
        newline = "\r\n" if "\r\n" in self._text else "\n"
        lines = lines.replace("\n", newline)
        at = self._text.find("\n", after)
        if at < 0:  # the last line doesn't end with a newline
            self._spliced.append((len(self._text), len(self._text), newline + lines.removesuffix(newline)))
        else:
            self._spliced.append((at + 1, at + 1, lines))

    def _check_unshared(self, path: Sequence[Step], node: yaml.Node) -> None:
        if id(node) in self._shared:
            raise ConfigError(f"{self._name}: {_shown(path)}: shared through an alias (*); write it out in each place")


def _shared(root: yaml.Node) -> set[int]:
    """The ids of nodes that occur in several places: PyYAML turns an alias into the node that it refers to."""
    seen: set[int] = set()
    shared: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            shared.add(id(node))
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            waiting += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
    return shared


def _child(node: yaml.Node, step: Step) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        found: yaml.Node = node.value[step]
        return found
    return None


def _end(node: yaml.Node) -> int:
    """The position after the last character of a node; PyYAML ends block collections at the next token."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return int(node.end_mark.index) - 1
    return int(node.end_mark.index)


def _written(value: Any) -> str:
    """A value as YAML on one line."""
    return _flow(value).removesuffix("\n...")


def _flow(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10_000_000, sort_keys=False).strip()


def _shown(path: Sequence[Step]) -> str:
    return ".".join(str(step) for step in path)
