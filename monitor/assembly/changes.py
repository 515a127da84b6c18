"""What changes from one config and its feature sets to another, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from detectors.feature_set import FeatureSet
from monitor.config.changes import Change, config_changes
from monitor.config.sections import Config
from monitor.sets.hook_points import reads_alike
from monitor.sets.load import LoadedSet


def all_changes(
    configs: tuple[Config, Config], sets: tuple[Sequence[LoadedSet], Sequence[LoadedSet]]
) -> Iterator[Change]:
    """Every difference. Overrides are left out, because what they do to the sets says more."""
    yield from (c for c in config_changes(*configs) if not c.key.startswith("feature_sets.overrides."))
    yield from set_changes(*sets)


def set_changes(before: Sequence[LoadedSet], after: Sequence[LoadedSet]) -> Iterator[Change]:
    """Every difference of the sets in use, set by set."""
    old, new = ({loaded.set.id: loaded for loaded in sets} for sets in (before, after))
    for name in sorted({*old, *new}):
        key, one, other = f"sets.{name}", old.get(name), new.get(name)
        if one is None and other is not None:
            yield Change(key, f"now in use, version {other.set.version}", None, other.set.version)
        elif one is not None and other is None:
            yield Change(key, f"no longer in use (version {one.set.version})", one.set.version, None)
        elif one is not None and other is not None:
            yield from _of_one(key, one, other)


def _of_one(key: str, one: LoadedSet, other: LoadedSet) -> Iterator[Change]:
    if one.sha256 != other.sha256:
        versions = one.set.version, other.set.version
        words = f"version {versions[0]} → {versions[1]}"
        if versions[0] == versions[1]:
            words = f"other files under the same version {versions[0]}"
        yield Change(f"{key}.version", words, one.sha256, other.sha256)
    readers = one.shipped.reader, other.shipped.reader
    if not reads_alike(*readers):
        places = [f"{reader.model}, layer {reader.layer}, SAE {reader.sae.sha256[:12]}..." for reader in readers]
        before, after = (reader.model_dump(mode="json") for reader in readers)
        yield Change(f"{key}.reader", " → ".join(places), before, after, needs_restart=True)
    for name in ("threshold", "severity", "escalations"):
        before, after = getattr(one.set, name), getattr(other.set, name)
        if before != after:
            yield Change(f"{key}.{name}", f"{_shown(before)} → {_shown(after)}", _plain(before), _plain(after))
    spoken = one.set.languages, other.set.languages
    if spoken[0] != spoken[1]:
        words = " → ".join("any" if codes is None else ", ".join(codes) for codes in spoken)
        old_codes, new_codes = (None if codes is None else list(codes) for codes in spoken)
        yield Change(f"{key}.languages", words, old_codes, new_codes)
    old, new = _features(one.set), _features(other.set)
    for words, indices in (
        ("no longer used: features", sorted(set(old) - set(new))),
        ("used now: features", sorted(set(new) - set(old))),
        ("other weight or threshold: features", sorted(i for i in old if i in new and old[i] != new[i])),
    ):
        if indices:
            shown = ", ".join(map(str, indices[:10])) + (f" and {len(indices) - 10} more" if len(indices) > 10 else "")
            yield Change(f"{key}.features", f"{words} {shown}", None, indices)


def _features(feature_set: FeatureSet) -> dict[int, tuple[float | None, float | None]]:
    return {feature.index: (feature.weight, feature.threshold) for feature in feature_set.features}


def _plain(value: Any) -> Any:
    return [item.model_dump() for item in value] if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{item.severity} from {item.score:g}" for item in value) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
