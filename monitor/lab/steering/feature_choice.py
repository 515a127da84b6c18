"""Which latents to steer: those that a user names, and others that are active about as often, for comparison."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from monitor.errors import ConfigError
from monitor.lab.reading.hook import Hook
from monitor.lab.steering.rig import SeenActivations
from monitor.sets.labels import LABELS_FILE, load_labels

_MOST_LISTED = 8
_ALIKE = 50
"""Latents with the most similar rates, among which controls are drawn."""


def labels_of(hook: Hook) -> dict[int, str]:
    """The labels of the SAE's latents next to the set that names the hook; names come before strongest tokens."""
    if hook.loaded is None:
        return {}
    labels, _ = load_labels(hook.loaded.path.with_name(LABELS_FILE))
    own = {feature.index: feature.label for feature in hook.loaded.set.features if feature.label}
    return {**own, **labels.labels, **{index: name.label for index, name in labels.names.items()}}


def find_feature(hook: Hook, asked: str) -> int:
    """The latent with this index, or the only one whose label contains this text.

    Raises ConfigError if there is none, or if there are several.
    """
    if asked.isdecimal():
        if int(asked) >= hook.sae.d_sae:
            raise ConfigError(f"--feature {asked}: the SAE has {hook.sae.d_sae} latents, from 0")
        return int(asked)
    labels = labels_of(hook)
    found = [index for index, label in sorted(labels.items()) if asked.lower() in label.lower()]
    exact = [index for index in found if labels[index].lower() == asked.lower()]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if not found:
        raise ConfigError(f"--feature {asked}: no label contains that; give the index of a latent")
    shown = "; ".join(f"{index}: {labels[index]}" for index in found[:_MOST_LISTED])
    more = "" if len(found) <= _MOST_LISTED else f"; and {len(found) - _MOST_LISTED} more"
    raise ConfigError(f"--feature {asked}: {len(found)} labels contain that; give an index: {shown}{more}")


def control_latents(seen: SeenActivations, feature: int, count: int, excluded: Collection[int], seed: int) -> list[int]:
    """Random latents that are active about as often as `feature`; none of `excluded`. Fewer if there aren't enough."""
    rates = seen.rate
    others = [n for n in np.flatnonzero(rates > 0).tolist() if n != feature and n not in excluded]
    target = np.log(max(float(rates[feature]), 1e-9))
    others.sort(key=lambda n: abs(np.log(rates[n]) - target))
    draw = np.random.default_rng(seed)
    alike = others[:_ALIKE]
    return [alike[n] for n in draw.permutation(len(alike))[:count]]
