"""Evidence: the features of an alert in the order in which a person should read them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from monitor.alerts.alert import AlertFeature

# A feature that nobody has named yet carries its strongest tokens as a label, or a note that it has none.
_UNNAMED = re.compile(r'tokens? ["\']|no clear tokens\Z')


def is_named(feature: AlertFeature) -> bool:
    """Whether the label says in words what the feature stands for."""
    return _UNNAMED.match(feature.label) is None


def named_first(features: Sequence[AlertFeature]) -> tuple[AlertFeature, ...]:
    """Features with a name, then those without; the order is otherwise kept."""
    return tuple(sorted(features, key=lambda feature: not is_named(feature)))
