"""JsonPath: finds values with their places, and is bounded whatever the path and the document."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.errors import BadEvent
from monitor.events.json_path import MAX_PATH_CHARS, MAX_VALUES, JsonPath

DATA = {"a": {"b c": [1, {"d": "x"}, {"d": "y", "e": 1}], "x-y": "z"}, "größe": 2}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", [("$", DATA)]),
        ("$.größe", [("$.größe", 2)]),
        ("$.a.x-y", [("$.a.x-y", "z")]),
        ("$.a['b c'][-1].d", [("$.a['b c'][2].d", "y")]),
        ("$.a[\"b c\"][?@.e == 1].d", [("$.a['b c'][2].d", "y")]),
        ("$..d", [("$.a['b c'][1].d", "x"), ("$.a['b c'][2].d", "y")]),
        ("$['größe', 'n'][0]", []),
        ("$['n', 'größe']", [("$.größe", 2)]),
        ("$.a.b", []),
        ("$.a['x-y'].z", []),
    ],
)  # fmt: skip
def test_values_and_where_they_stand(path: str, found: list[tuple[str, Any]]) -> None:
    assert [(one.path, one.value) for one in JsonPath(path).find(DATA)] == found


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "it has to start with"),
        ("a", "it has to start with"),
        ("$.a ", "whitespace"),
        ("$.a[", "unexpected end"),
        ("$.a|$.b", "unexpected token"),
        ("$..a..b", "once only"),
        ("$[?@..a][?@..b]", "once only"),
        ("$[*, *][*, *]", "only between keys and numbers"),
        ("$['a', ?@.b]", "only between keys and numbers"),
        ("$[0, 1:5]", "only between keys and numbers"),
        ("$['a', \"a\"]", "the same key stands twice"),
        ("$[?match(@.a, '(x+)+y')]", "function 'match' is not defined"),
        ("$[?search(@.a, '(x+)+y')]", "function 'search' is not defined"),
        ("$" + ".a" * MAX_PATH_CHARS, "characters"),
        ("$" + "[?@" * 120, "is not a JSON path"),
    ],
)
def test_what_is_no_path_is_refused_with_the_reason(path: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        JsonPath(path)


def test_dots_in_a_quoted_key_are_no_descent() -> None:
    assert JsonPath("$['..']['a..b']").find({"..": {"a..b": 1}})[0].value == 1


def test_the_number_of_values_is_bounded() -> None:
    assert len(JsonPath("$[*]").find([0] * MAX_VALUES)) == MAX_VALUES
    with pytest.raises(BadEvent, match=f"more than {MAX_VALUES} values"):
        JsonPath("$[*]").find([0] * (MAX_VALUES + 1))


def test_texts_are_replaced_where_they_stand() -> None:
    data = {"a": ["x", 1, {"b": "y"}]}
    JsonPath("$..*").replace_texts(data, lambda text, where: f"{text} at {where}")
    assert data == {"a": ["x at $.a[0]", 1, {"b": "y at $.a[2].b"}]}


def test_how_far_a_path_goes() -> None:
    assert JsonPath("$.a.b.c").last_reached(DATA).path == "$.a"
    assert JsonPath("$.n").last_reached(DATA).path == "$"
