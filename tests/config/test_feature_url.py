"""Templates of the address of a feature's card."""

from __future__ import annotations

import pytest

from monitor.config.feature_url import FeatureUrl
from monitor.config.load import load_config
from monitor.errors import ConfigError
from tests.feature_set_factory import make_weighted


def test_the_fields_are_filled_in_and_quoted() -> None:
    used = make_weighted(id="bias", reader={**make_weighted().reader.model_dump(), "model": "org/a model"})
    url = FeatureUrl("https://cards.example/{model}/{layer}/{set}/{version}?f={index}#{sae_sha256}")
    expected = f"https://cards.example/org%2Fa%20model/9/bias/1.0.0?f=7#{used.reader.sae.sha256}"
    assert url.of(used, 7) == expected


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("https://x/{index}/{lable}", "the only fields are {set}"),
        ("https://x/{index!r}", "the only fields are {set}"),
        ("https://x/{index.__class__}", "the only fields are {set}"),
        ("https://x/{", "not a template"),
        ("https://x/cards", r"needs {index}"),
        ("javascript:alert({index})", "must begin with http:// or https://"),
        ("https://{set}/{index}", "must begin with http:// or https://"),
    ],
)
def test_a_template_that_cannot_work_stops_the_start(template: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, {"LATENTWATCH__ALERTS__FEATURE_URL": template})
    assert "alerts.feature_url" in str(caught.value)
    assert problem in str(caught.value)
