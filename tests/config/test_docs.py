"""docs/configuration.md has every key with its values, default, meaning and variable; and no others."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from detectors.feature_set import FeatureOverride, SetOverride
from monitor.config.allow import Allowed
from monitor.config.load import config_schema, load_config
from monitor.config.redact import OwnPattern
from monitor.config.rules import Rule, RuleScope, SetChange
from monitor.config.sections import ENV_PREFIX
from tests.config.documented_keys import Key, Section, sections

DOCS = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
LINES = DOCS.splitlines()
KEYS = [key for section in sections() for key in section.keys]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_every_key_is_documented(key: Key) -> None:
    row = next((line for line in LINES if line.startswith(f"| `{key.path}`")), None)
    assert row == key.row(), "run: python -m tests.config.documented_keys"


@pytest.mark.parametrize("section", list(sections()), ids=lambda section: section.path)
def test_every_section_is_as_printed(section: Section) -> None:
    assert section.table() in DOCS, "run: python -m tests.config.documented_keys"


def test_no_key_is_documented_that_does_not_exist() -> None:
    documented = {m.group(1) for line in LINES if (m := re.match(r"\| `([a-z_]+\.[a-z_.]+)`", line))}
    documented -= keys_under("### Rules") | keys_under("### Allow-list")
    assert documented == {key.path for key in KEYS}
    variables = set(re.findall(rf"{ENV_PREFIX}[A-Z_]+", DOCS)) - {f"{ENV_PREFIX}SECTION__KEY"}
    assert variables <= {key.variable for key in KEYS} | {f"{ENV_PREFIX}FEATURE_SETS__OVERRIDES__"}


def keys_under(heading: str) -> set[str]:
    """The keys in the tables from that heading to the next."""
    section = re.split(r"^##+ ", DOCS.split(f"{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    return set(re.findall(r"^\| `([A-Za-z0-9._]+)`", section, re.MULTILINE))


def test_every_key_of_an_override_is_documented() -> None:
    wanted = {*SetOverride.model_fields, *(f"features.INDEX.{name}" for name in FeatureOverride.model_fields)}
    assert keys_under("### Overrides") == wanted


def test_every_key_of_a_rule_is_documented() -> None:
    inner = {f"when.{name}" for name in RuleScope.model_fields} | {f"sets.ID.{name}" for name in SetChange.model_fields}
    assert keys_under("### Rules") == {*Rule.model_fields, *inner} - {"when"}


def test_every_key_of_an_own_pattern_is_documented() -> None:
    assert keys_under("### Redaction") == set(OwnPattern.model_fields)


def test_every_key_of_the_allow_list_is_documented() -> None:
    assert keys_under("### Allow-list") == set(Allowed.model_fields)


@pytest.mark.parametrize("page", ["configuration.md", "tuning.md"])
def test_the_examples_are_valid(tmp_path: Path, page: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    examples = [found for found in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "jobs:" not in found]
    assert len(examples) >= 2
    for number, text in enumerate(examples):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        load_config(path, {})
        assert yaml.safe_load(text)
        jsonschema.validate(yaml.safe_load(text), config_schema())  # as an editor and the Helm chart do
