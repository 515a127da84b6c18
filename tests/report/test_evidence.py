"""Features with a name come before those with only a list of tokens."""

from __future__ import annotations

import pytest

from monitor.report.evidence import is_named, named_first
from tests.report.alert_samples import make_alert


@pytest.mark.parametrize("label", ['tokens "and", "so"', 'token "db"', "tokens 'a'", "no clear tokens"])
def test_a_list_of_tokens_is_not_a_name(label: str) -> None:
    (feature,) = make_alert(labels=(label,)).features
    assert not is_named(feature)


@pytest.mark.parametrize("label", ["secret ways in", "tokens of access that are hard-coded", "no clear tokens needed"])
def test_words_are_a_name(label: str) -> None:
    (feature,) = make_alert(labels=(label,)).features
    assert is_named(feature)


def test_named_features_come_first_and_the_order_is_otherwise_kept() -> None:
    features = make_alert(labels=('tokens "a"', "harm", "no clear tokens", "flattery")).features
    assert [f.label for f in named_first(features)] == ["harm", "flattery", 'tokens "a"', "no clear tokens"]
