"""What the config says of sets must fit those in use, wherever it says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.assembly.sets import load_sets
from monitor.config.sections import Config
from monitor.errors import ConfigError
from tests.feature_set_factory import summed_data, weighted_data, write_yaml


def test_every_problem_with_sets_that_load_is_listed(tmp_path: Path) -> None:
    write_yaml(tmp_path / "logistic.yaml", weighted_data(id="logistic"))
    write_yaml(tmp_path / "summed.yaml", summed_data(id="summed"))
    rule = {"name": "r", "when": {"tenant": "a"}, "sets": {"logistic": {"threshold": 3.0}, "off": {"enabled": False}}}
    allowed = {"name": "a", "system_sha256": "a" * 64, "sets": ["off"]}
    sets = {
        "paths": [str(tmp_path)],
        "overrides": {"logistic": {"threshold": 1.5}, "summed": {"threshold": 1.5}},
        "rules": [rule],
        "allow": [allowed],
    }
    with pytest.raises(ConfigError) as caught:
        load_sets(Config.model_validate({"feature_sets": sets}))
    reason = "is never reached, because scores are 1 at most; use enabled: false"
    assert caught.value.problems == (
        f"feature_sets.overrides.logistic.threshold: 1.5 {reason}",
        f"feature_sets.rules: r: sets.logistic.threshold: 3 {reason}",
        "feature_sets.rules: r: sets.off: no set of this name is in use; there are logistic, summed",
        "feature_sets.allow: a: sets: no set off is in use; there are logistic, summed",
    )
    fitting = {"paths": [str(tmp_path)], "overrides": {"logistic": {"threshold": 1.0}}}
    assert [s.set.threshold for s in load_sets(Config.model_validate({"feature_sets": fitting}))] == [1.0, 0.5]
    below = {"paths": [str(tmp_path)], "overrides": {"logistic": {"threshold": -3}}}
    with pytest.raises(ConfigError, match=r"^feature_sets\.overrides\.logistic\.threshold: -3 is below every score"):
        load_sets(Config.model_validate({"feature_sets": below}))
