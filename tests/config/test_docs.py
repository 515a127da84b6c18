"""docs/configuration.md has every key with its values, default, meaning and variable; and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from detectors.feature_set import FeatureOverride, SetOverride
from monitor.config.load import load_config
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
    assert documented == {key.path for key in KEYS}
    variables = set(re.findall(rf"{ENV_PREFIX}[A-Z_]+", DOCS)) - {f"{ENV_PREFIX}SECTION__KEY"}
    assert variables <= {key.variable for key in KEYS} | {f"{ENV_PREFIX}FEATURE_SETS__OVERRIDES__"}


def test_every_key_of_an_override_is_documented() -> None:
    section = DOCS[DOCS.index("### Overrides") : DOCS.index("## alerts")]
    wanted = {*SetOverride.model_fields, *(f"features.INDEX.{name}" for name in FeatureOverride.model_fields)}
    assert set(re.findall(r"^\| `([A-Za-z._]+)`", section, re.MULTILINE)) == wanted


def test_the_examples_are_valid(tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    assert len(examples) >= 2
    for number, text in enumerate(examples):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        load_config(path, {})
        assert yaml.safe_load(text)
