"""The sets that a lab command works on, chosen by id, category or path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from detectors.feature_set import FeatureSet, SetOverride
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.sets.load import BUILTIN_PREFIX, builtin_folder, load_feature_sets


def with_sets(config: Config, names: Sequence[str]) -> Config:
    """The config with only the sets `names`, each enabled and with its overrides from `config`.

    A name is the path of a YAML file, `builtin:` plus a path inside the shipped sets, or the id or category of a set
    of the config. Raises ConfigError if it is none of these.
    """
    paths = [name for name in names if name.startswith(BUILTIN_PREFIX) or Path(name).is_file()]
    chosen = load_feature_sets(paths) if paths else []
    others = [name for name in names if name not in paths]
    known = load_feature_sets(config.feature_sets.paths) if others else []
    problems = []
    for name in others:
        found = [s for s in known if s.set.id == name] or [s for s in known if s.set.category == name]
        chosen += found
        if not found:
            ids = ", ".join(s.set.id for s in known)
            problems.append(f"--set {name}: neither a YAML file nor the id or category of a set; the sets are {ids}")
    if problems:
        raise ConfigError(problems)
    overrides = {
        s.set.id: override.model_copy(update={"enabled": True})
        for s in chosen
        if (override := config.feature_sets.overrides.get(s.set.id)) is not None
    }
    return _changed(config, tuple(dict.fromkeys(str(s.path) for s in chosen)), overrides)


def as_shipped(config: Config) -> Config:
    """The config with all sets of its paths exactly as their files say: none filtered out, nothing overridden."""
    return _changed(config, config.feature_sets.paths, {})


def in_every_language(config: Config) -> Config:
    """The config, except that no set abstains because of a text's language."""
    overrides = dict(config.feature_sets.overrides)
    for loaded in load_feature_sets(config.feature_sets.paths):
        known = overrides.get(loaded.set.id, SetOverride())
        overrides[loaded.set.id] = known.model_copy(update={"languages": "any"})
    return config.changed(feature_sets=config.feature_sets.changed(overrides=overrides))


def own_contrasts(feature_set: FeatureSet, folder: Path | None = None) -> tuple[Path, ...]:
    """The project's own files of labelled rows for the set's category, in order; empty if there are none.

    They are CATEGORY.jsonl and CATEGORY_NUMBER.jsonl in `folder` (default: feature_sets/contrasts). Other names that
    start with the category, such as bias_languages.jsonl, don't count.
    """
    name = re.compile(rf"{feature_set.category}(?:_([0-9]+))?\.jsonl")
    folder = folder or builtin_folder() / "contrasts"
    found = [(int(match[1] or 0), path.name) for path in folder.glob("*.jsonl") if (match := name.fullmatch(path.name))]
    return tuple(folder / file for _, file in sorted(found))


def _changed(config: Config, paths: tuple[str, ...], overrides: dict[str, SetOverride]) -> Config:
    # rules and allow-list are about traffic, and may name sets that were not chosen
    sets = config.feature_sets.changed(paths=paths, only=(), overrides=overrides, rules=(), allow=())
    return config.changed(feature_sets=sets)
