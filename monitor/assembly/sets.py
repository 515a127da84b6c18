"""The feature sets of a config, checked together with everything in the config that names them."""

from __future__ import annotations

from monitor.alerts.allow import allow_problems
from monitor.alerts.rules import out_of_range, rule_problems
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.sets.load import LoadedSet, load_feature_sets


def load_sets(config: Config) -> list[LoadedSet]:
    """The feature sets that the config enables. Raises ConfigError with every problem."""
    wanted = config.feature_sets
    sets = load_feature_sets(wanted.paths, wanted.only, wanted.overrides)
    problems = [
        f"feature_sets.overrides.{loaded.set.id}.threshold: {problem}"
        for loaded in sets
        if loaded.set.id in wanted.overrides and (problem := out_of_range(loaded.set))
    ]
    used = [loaded.set for loaded in sets]
    problems += [*rule_problems(wanted, used), *allow_problems(wanted.allow, used)]
    if problems:
        raise ConfigError(problems)
    return sets
