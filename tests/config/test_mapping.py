"""MappingConfig: what is wrong is said when the config loads, with its key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.config.load import load_config
from monitor.config.sections import EventsConfig
from monitor.errors import ConfigError


def problems(folder: Path, mapping: Any, **events: Any) -> list[str]:
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump({"events": {"mapping": mapping, **events}}))
    try:
        load_config(path, {})
    except ConfigError as e:
        return [problem.removeprefix(f"{path}: ") for problem in e.problems]
    return []


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        ({"messages": "a.b"}, "events.mapping.messages: 'a.b' is not a JSON path: it has to start with $"),
        ({"messages": ["$.a", "$.b["]}, "events.mapping.messages: '$.b[' is not a JSON path: unexpected end of query"),
        ({"messages": 5}, "events.mapping.messages: write a path, or a list of paths"),
        ({"messages": "header:"}, "events.mapping.messages: 'header:' names no header: write header:NAME"),
        ({"prompt": "$..a..b"}, "events.mapping.prompt: '$..a..b': `..` may stand in a path once only"),
        ({"prompt": "$.a", "attributes": {"x": "b"}}, "events.mapping.attributes.x: 'b' is not a JSON path"),
        ({"prompt": "$.a", "decode": {"b": "json"}}, "events.mapping.decode: 'b' is not a JSON path"),
        ({"prompt": "$.a", "decode": {"$.b": "xml"}}, "events.mapping.decode.$.b: Input should be 'json'"),
        ({"id": "$.a"}, "events.mapping: a mapping needs messages or prompt or response"),
        ({"prompt": "$.a", "role": "$.b"}, "events.mapping: role, content and roles are about the messages"),
        ({"prompt": "$.a", "required": ["id"]}, "events.mapping: required: id has no path"),
        ({"messages": "$.a", "roles": {"Me": "user"}}, "events.mapping: roles: Me: write it in lower case"),
        ({"messages": "$.a", "roles": {"me": "boss"}}, "events.mapping.roles.me: Input should be 'system', 'user'"),
        ({"message": "$.a"}, "events.mapping.message: unknown key"),
        ({"prompt": ["$.a"] * 17}, "events.mapping.prompt: Value should have at most 16 items"),
    ],
)
def test_problems_name_key_and_reason(tmp_path: Path, mapping: Any, problem: str) -> None:
    (found,) = problems(tmp_path, mapping)
    assert found.startswith(problem)


def test_every_problem_is_found_at_once(tmp_path: Path) -> None:
    assert len(problems(tmp_path, {"messages": "a", "response": "b", "id": ["$.c", "d"]})) == 3


def test_a_mapping_goes_in_place_of_a_format(tmp_path: Path) -> None:
    assert problems(tmp_path, {"prompt": "$.a"}, format="auto") == []
    (found,) = problems(tmp_path, {"prompt": "$.a"}, format="kong")
    assert found == "events: format kong and a mapping: the mapping reads every body; leave format out"


def test_without_a_mapping_the_name_of_the_format_counts(tmp_path: Path) -> None:
    assert problems(tmp_path, {}) == []
    assert EventsConfig(format="kong").body_format() == "kong"


def test_a_path_from_the_environment() -> None:
    config = load_config(None, {"LATENTWATCH__EVENTS__MAPPING__PROMPT": "$.q"})
    assert config.events.mapping.prompt == ("$.q",)


def test_the_library_of_paths_is_loaded_only_for_a_mapping() -> None:
    code = "import sys, monitor.config.load as m; m.load_config(None, {}); print('jsonpath' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
