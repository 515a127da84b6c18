"""ChatTemplate: the text is the one that jinja makes, and every turn is where its segment says."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import ConfigError
from monitor.events.event import Event, Message
from monitor.tokens.chat_template import ChatTemplate, Rendered
from monitor.tokens.normalise import normalised
from tests.alert_factory import make_event
from tests.tokens import templates
from tests.tokens.templates import CHATML, GEMMA, INST, LLAMA, TOKENS, directly

SOURCES = {"chatml": CHATML, "llama": LLAMA, "gemma": GEMMA, "inst": INST}
TEMPLATES = {name: ChatTemplate(source, TOKENS) for name, source in SOURCES.items()}
STRIPS = {"llama", "gemma"}

PIECES = [*"{}%#<|>[]'\"\\ \t\n\r\u00a0\u2028\u200d\ue0f0\ue0f1\ue0f2", "👩🏽\u200d🚀", "e\u0301", "0"]
TEXTS = st.lists(st.characters(codec="utf-8") | st.sampled_from(PIECES), max_size=30).map("".join)
SPECIAL = ["", " ", "{{ messages }}", "{% raw %}", "\ue0f00\ue0f1", "\ue0f01\ue0f1", "<|im_end|>\n<|im_start|>", "\\n"]


def event(turns: list[tuple[str, str]], response: str = "") -> Event:
    return make_event(messages=tuple(Message(role, text) for role, text in turns), response=response)


def plain(text: str) -> str:
    """What the model reads of a turn."""
    found = normalised(text)
    return text if found is None else found.text


def check_offsets(rendered: Rendered) -> None:
    at = 0
    for segment in rendered.segments:
        assert segment.start >= at
        at = segment.end
        length = segment.end - segment.start
        assert rendered.text[segment.start : segment.end] == plain(segment.text)[segment.lead : segment.lead + length]
    assert len(rendered.text) == at


@pytest.mark.parametrize("name", SOURCES)
@given(data=st.data())
def test_text_is_what_jinja_makes_and_offsets_are_exact(name: str, data: st.DataObject) -> None:
    texts = data.draw(st.lists(TEXTS | st.sampled_from(SPECIAL), min_size=2, max_size=7))
    roles = ["user", "assistant"] * 4
    if name in ("chatml", "llama") and data.draw(st.booleans()):
        roles.insert(0, "system")
    turns = list(zip(roles[: len(texts)], texts, strict=True))
    last_role, last = turns[-1]
    with_response = last_role == "assistant" and last != ""
    made = event(turns[:-1], last) if with_response else event(turns)
    rendered = TEMPLATES[name].render(made)
    direct = directly(SOURCES[name], [{"role": r, "content": plain(t)} for r, t in turns])
    assert not rendered.fallback
    assert direct.startswith(rendered.text)  # what follows the last turn is left out
    if name in STRIPS:
        assert [plain(s.text)[s.lead :][: s.end - s.start] for s in rendered.segments] == [
            plain(t).strip() for t in texts
        ]
    else:
        assert [(s.lead, s.end - s.start) for s in rendered.segments] == [(0, len(plain(t))) for t in texts]
    assert [s.text for s in rendered.segments] == texts
    assert (rendered.segments[-1].name == "response") == with_response
    check_offsets(rendered)


def test_chatml_with_its_default_system_message() -> None:
    rendered = TEMPLATES["chatml"].render(event([("user", "Hi")], "Hello"))
    assert rendered.text == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello"
    )
    assert [(s.name, s.index) for s in rendered.segments] == [("user", 0), ("response", 0)]
    own = TEMPLATES["chatml"].render(event([("system", "Be brief."), ("user", "Hi")]))
    assert own.text == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi"


def test_llama_has_special_tokens_and_the_date() -> None:
    rendered = TEMPLATES["llama"].render(event([("user", "  Hi\n")], " Hello "))
    year = datetime.now().year
    start = f"<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: {year}\n\n<|eot_id|>"
    assert rendered.text.startswith(start)
    assert rendered.text.endswith("<|start_header_id|>assistant<|end_header_id|>\n\nHello")
    assert [s.lead for s in rendered.segments] == [2, 1]


@pytest.mark.parametrize(
    "turns",
    [
        [("user", "a"), ("user", "b")],
        [("assistant", "a"), ("user", "b")],
        [("user", "a"), ("system", "Be kind."), ("assistant", "b")],
    ],
)
def test_what_a_template_refuses_is_read_plainly_and_flagged(turns: list[tuple[str, str]]) -> None:
    rendered = TEMPLATES["gemma"].render(event(turns, "  Hello  "))
    assert rendered.fallback
    assert rendered.text == "\n\n".join([*(t for _, t in turns), "  Hello  "])  # nothing is stripped
    check_offsets(rendered)


def test_a_system_turn_that_a_template_refuses_comes_first_in_the_users_turn() -> None:
    rendered = TEMPLATES["gemma"].render(event([("system", " Be kind.\n"), ("user", " Hi ")], "Hello"))
    whole = [{"role": "user", "content": "Be kind.\n\nHi"}, {"role": "assistant", "content": "Hello"}]
    assert not rendered.fallback
    assert directly(GEMMA, whole).startswith(rendered.text)
    assert [(s.name, s.lead) for s in rendered.segments] == [("system", 1), ("user", 1), ("response", 0)]
    check_offsets(rendered)


@pytest.mark.parametrize(
    ("turns", "shown"),
    [
        ([("system", "a"), ("developer", "b"), ("user", "c")], ["a\n\nb\n\nc"]),
        ([("user", "a"), ("assistant", "b"), ("system", "c"), ("user", "d")], ["a", "b", "c\n\nd"]),
        ([("system", "a")], ["a"]),
    ],
)
def test_which_turns_are_folded(turns: list[tuple[str, str]], shown: list[str]) -> None:
    rendered = TEMPLATES["gemma"].render(event(turns))
    assert not rendered.fallback
    roles = ["user", "assistant", "user"]
    whole = [{"role": role, "content": text} for role, text in zip(roles, shown, strict=False)]
    assert directly(GEMMA, whole).startswith(rendered.text)
    assert len(rendered.segments) == len(turns)
    check_offsets(rendered)


REFUSES = "{{ raise_exception('no') }}"


@pytest.mark.parametrize(
    ("source", "note"),
    [
        (CHATML, None),
        (GEMMA, "takes no system turn: it is read at the start of the user's turn"),
        (templates.STRICT, "takes no system turn: conversations with one are read as plain text"),
        (REFUSES, "does not take a user's turn and a response: all turns are read as plain text"),
        (None, "the model has no chat template: turns are read as plain text"),
    ],
)
def test_how_conversations_are_read_is_said_once(source: str | None, note: str | None) -> None:
    notes = ChatTemplate(source, TOKENS).notes()
    assert len(notes) == (note is not None)
    assert note is None or note in notes[0]


def test_what_marks_the_text_that_models_are_trained_on_changes_nothing() -> None:
    source = "{% for m in messages %}<{{ m.role }}>{% generation %}{{ m.content }}{% endgeneration %}.{% endfor %}"
    rendered = ChatTemplate(source).render(event([("user", "Hi")], "Hello"))
    assert (rendered.text, rendered.fallback) == ("<user>Hi.<assistant>Hello", False)


@pytest.mark.parametrize("source", [templates.DROPS_TURNS, templates.REPEATS_TURNS, templates.SKIPS_TOOLS])
def test_a_template_that_drops_or_repeats_turns_is_not_used_for_them(source: str) -> None:
    rendered = ChatTemplate(source).render(event([("user", "a"), ("tool", "b")], "c"))
    assert (rendered.fallback, rendered.text) == (True, "a\n\nb\n\nc")
    check_offsets(rendered)


def test_it_is_used_for_the_conversations_that_it_shows_whole() -> None:
    rendered = ChatTemplate(templates.SKIPS_TOOLS).render(event([("user", "a")], "c"))
    assert (rendered.fallback, rendered.text) == (False, "<user>a<assistant>c")


def test_without_a_template_the_turns_stand_below_one_another() -> None:
    template = ChatTemplate(None)
    assert not template.exists
    assert template.shared_prefix() == ""
    rendered = template.render(event([("user", " a ")], "b"))
    assert (rendered.text, rendered.fallback) == (" a \n\nb", True)
    check_offsets(rendered)


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("system", "system"),
        ("developer", "system"),
        ("user", "user"),
        ("human", "user"),
        ("assistant", "assistant"),
        ("model", "assistant"),
        ("tool", "tool"),
        ("function", "tool"),
    ],
)
def test_segment_names(role: str, name: str) -> None:
    rendered = TEMPLATES["chatml"].render(event([(role, "a"), ("user", "b"), (role, "c")], "d"))
    assert rendered.segments[0].name == name
    same = [s.index for s in rendered.segments if s.name == name]
    assert same == list(range(len(same)))
    assert rendered.segments[-1].name == "response"


def test_an_event_without_a_response_has_no_response_segment_unless_it_has_nothing_else() -> None:
    assert [s.name for s in TEMPLATES["chatml"].render(event([("user", "a")])).segments] == ["user"]
    assert [s.name for s in TEMPLATES["chatml"].render(event([], "a")).segments] == ["response"]


@pytest.mark.parametrize("name", SOURCES)
def test_every_conversation_without_a_system_message_begins_with_the_shared_prefix(name: str) -> None:
    start = TEMPLATES[name].shared_prefix()
    assert start
    for turns in ([("user", "a")], [("user", "b"), ("assistant", "c"), ("user", "d")]):
        assert TEMPLATES[name].render(event(turns)).text.startswith(start)


@pytest.mark.parametrize("source", ["{% for %}", "{{ unclosed", "{% unknown_tag %}", "{{ x | no_such_filter }}"])
def test_a_template_with_a_fault_is_a_config_error(source: str) -> None:
    with pytest.raises(ConfigError, match="chat template: "):
        ChatTemplate(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('no') }}",
        "{{ messages[0]['content'] + 1 }}",
        "{{ messages.nothing.more }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ 1 / 0 }}",
        "{{ range(100000000) }}",
    ],
)
def test_a_template_that_fails_or_reaches_out_of_its_sandbox_is_read_plainly(source: str) -> None:
    rendered = ChatTemplate(source).render(event([("user", "a")], "b"))
    assert (rendered.text, rendered.fallback) == ("a\n\nb", True)


def test_tojson_does_not_escape_for_html() -> None:
    source = "{{ {'a': '<é>'} | tojson }}{% for m in messages %}{{ m.content }}{% endfor %}"
    assert ChatTemplate(source).render(event([("user", "x")])).text == '{"a": "<é>"}x'


def test_tojson_has_the_options_of_transformers() -> None:
    source = "{{ {'b': 1, 'a': ['é']} | tojson(ensure_ascii=true, indent=1, separators=(',', '='), sort_keys=true) }}"
    expected = json.dumps({"b": 1, "a": ["é"]}, ensure_ascii=True, indent=1, separators=(",", "="), sort_keys=True)
    source += "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert ChatTemplate(source).render(event([("user", "x")])).text == f"{expected}x"


def test_tools_namespaces_and_dates() -> None:
    """A template in the style of models that call tools."""
    made = event([("system", "s"), ("user", "u"), ("assistant", "a"), ("tool", "t")], "r")
    rendered = ChatTemplate(templates.TOOLS, TOKENS).render(made)
    year = datetime.now().year
    assert rendered.text == f"<s>[{year}] <system>s<user>u<assistant>a<result>t</result><assistant>r"
    assert [s.name for s in rendered.segments] == ["system", "user", "assistant", "tool", "response"]
    check_offsets(rendered)


def test_text_of_an_event_is_never_run_as_a_template() -> None:
    attack: dict[str, Any] = {"role": "user", "content": "{{ 7 * 7 }}{% set x = 1 %}"}
    text = TEMPLATES["chatml"].render(event([(attack["role"], attack["content"])])).text
    assert attack["content"] in text
    assert not re.search("49", text)
