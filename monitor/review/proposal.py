"""Proposal: the change of the config that another threshold needs. It is shown, never written."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import yaml

from monitor.errors import ConfigError
from monitor.yaml_edit import YamlEdit


@dataclass(frozen=True)
class ConfigFile:
    """The config file that the sidecar reads, or a copy of it. It is read again for every proposal."""

    path: Path


@dataclass(frozen=True)
class Proposal:
    """The change, as text to copy or to download."""

    text: str
    is_diff: bool
    """Whether `patch` can apply it; otherwise it is YAML to merge by hand."""
    note: str = ""
    """Why there is no diff, if a config file was named."""


def proposal(config: ConfigFile | None, set_id: str, threshold: float) -> Proposal:
    """The override of a set's threshold: a diff of the config file if there is one, or the YAML alone."""
    override = {"feature_sets": {"overrides": {set_id: {"threshold": threshold}}}}
    alone = yaml.safe_dump(override, sort_keys=False, allow_unicode=True)
    if config is None:
        return Proposal(alone, False)
    name = config.path.name
    try:
        before = config.path.read_text(encoding="utf-8")
        after = _changed(name, before, set_id, threshold)
    except (OSError, UnicodeDecodeError, ConfigError) as e:
        reason = e.strerror if isinstance(e, OSError) else str(e)
        return Proposal(alone, False, f"{name}: {reason}")
    lines = difflib.unified_diff(_lines(before), _lines(after), f"a/{name}", f"b/{name}")
    return Proposal("".join(lines), True)


def _changed(name: str, text: str, set_id: str, threshold: float) -> str:
    """The text with the override, added at the deepest key that the file has already. Raises ConfigError."""
    edit = YamlEdit(name, text)
    there = yaml.safe_load(text)
    sets = there.get("feature_sets")
    if not sets:
        if "feature_sets" in there:
            raise ConfigError("feature_sets is empty; write the override there by hand")
        edit.add_mapping("feature_sets", {"overrides": {set_id: {"threshold": threshold}}}, after="source")
        return edit.text()
    overrides = sets.get("overrides")
    if not overrides:
        edit.set(("feature_sets", "overrides"), {set_id: {"threshold": threshold}})
    elif not overrides.get(set_id):
        edit.set(("feature_sets", "overrides", set_id), {"threshold": threshold})
    else:
        edit.set(("feature_sets", "overrides", set_id, "threshold"), threshold)
    return edit.text()


def _lines(text: str) -> list[str]:
    """Lines for a diff, which needs a newline after the last one too."""
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return lines
