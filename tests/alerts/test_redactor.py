"""Redactor: what is written over, what is not, and that nothing moves."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from pydantic import ValidationError

from monitor.alerts.redactor import Redactor
from monitor.alerts.secrets import FINDERS
from monitor.config.redact import BUILT_IN, RedactConfig

REDACTOR = Redactor.of(RedactConfig())

# Keys in pieces, so that tools that look for leaked ones don't take this file for a leak.
PLANTED = {
    "aws access key": ("cloud_key", "AKIA" + "Q7WT2NZK5LMB4XYZ"),
    "aws secret key": ("cloud_key", "aws_secret_access_key = " + "wJalrXUtnFEMIK7MDENGbPxRfiCYzR0j8kQ2LmNo"),
    "azure storage": ("cloud_key", "AccountKey=" + "Q" * 86 + "=="),
    "google": ("cloud_key", "AIza" + "SyD3x4mpl3K3yW1thTh1rtyF1v3Charact0"),
    "github": ("cloud_key", "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"),
    "slack": ("cloud_key", "xoxb-" + "123456789012-abcdefABCDEF"),
    "stripe": ("cloud_key", "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"),
    "openai": ("cloud_key", "sk-proj-" + "abcDEF123456ghiJKL789012"),
    "hugging face": ("cloud_key", "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH"),
    "bearer": ("token", "Bearer " + "mF_9.B5f-4.1JqM0aZ3"),
    "jwt": ("token", "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiI0MiIsIm5hbWUiOiJhIn0.c2lnbmF0dXJl"),
    "private key": ("private_key", "-----BEGIN " + "RSA PRIVATE KEY-----\nMIIB\nAQAB\n-----END RSA PRIVATE KEY-----"),
    "card": ("card", "4111 1111 1111 1111"),
    "card without spaces": ("card", "5555555555554444"),
    "card of 15 digits": ("card", "3782-822463-10005"),
    "iban": ("iban", "DE89 3704 0044 0532 0130 00"),
    "iban without spaces": ("iban", "GB82WEST12345698765432"),
    "email": ("email", "jane.doe+news@mail.example.co.uk"),
    "email of letters beyond ASCII": ("email", "jürgen@exämple.org"),
    "phone": ("phone", "+49 (0)30 1234567"),
    "phone with 00": ("phone", "0044 20 7946 0958"),
    "phone of North America": ("phone", "(415) 555-2671"),
}
HARMLESS = (
    "Version 1.2.3 of 2024-11-30, build 20241130123456, at 12:30:59.",
    "The sum of 1234567890123456 and 4111 1111 1111 1112 is no card.",
    "GB83 WEST 1234 5698 7654 32 has the wrong check digits.",
    "Order 5551234, room 415-555, ISBN 978-3-16-148410-0, 10.0.0.1, 3.14159265358979",
    "a bearer of bad news; user@localhost; @mention; sk-short; eyJust a word",
    "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
    "sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
)


@pytest.mark.parametrize("name", PLANTED)
def test_planted_secrets_are_written_over_and_the_rest_stays_in_its_place(name: str) -> None:
    kind, secret = PLANTED[name]
    before, after = "It says: ", ", and that is all."
    shown = REDACTOR.redacted(before + secret + after)
    assert shown == f"{before}[{kind}{'*' * (len(secret) - len(kind) - 2)}]{after}"


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert REDACTOR.redacted(text) == text


def test_a_private_key_that_the_text_breaks_off_in_is_written_over() -> None:
    cut = "-----BEGIN " + "OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA"
    assert REDACTOR.redacted(f"Key: {cut}") == f"Key: [private_key{'*' * (len(cut) - 13)}]"


def test_only_the_kinds_of_the_config_are_looked_for() -> None:
    text = " and ".join(secret for _, secret in PLANTED.values())
    assert Redactor.of(RedactConfig(patterns=())).redacted(text) == text
    only = Redactor.of(RedactConfig(patterns=("email",))).redacted(text)
    assert "jane.doe" not in only
    assert "4111 1111 1111 1111" in only
    assert set(FINDERS) == set(BUILT_IN)


def test_hidden_characters_and_look_alikes_hide_nothing() -> None:
    hidden = "\u200b".join("AKIAQ7WT2NZK5LMB4XYZ")
    assert REDACTOR.redacted(f"key {hidden}.") == f"key [cloud_key{'*' * (len(hidden) - 11)}]."
    cyrillic = "j\u0430ne@ex\u0430mple.com"
    assert REDACTOR.redacted(f"to {cyrillic} now") == f"to [email{'*' * (len(cyrillic) - 7)}] now"


def test_what_overlaps_is_written_over_as_one() -> None:
    token = "Bearer " + PLANTED["jwt"][1]
    assert REDACTOR.redacted(f"{token} x") == f"[token{'*' * (len(token) - 7)}] x"
    # groups of digits in front of a card's
    assert "1111" not in REDACTOR.redacted("2024 4111 1111 1111 1111")


def test_a_name_that_is_too_long_for_its_place_is_left_out() -> None:
    redactor = Redactor.of(RedactConfig.model_validate({"own": [{"name": "employee-number", "regex": r"E\d{4}"}]}))
    assert redactor.redacted("from E1234 to E99") == "from ***** to E99"


def test_text_that_is_not_valid_unicode_keeps_its_length() -> None:
    text = "\ud800 jane@example.com \udfff"
    assert REDACTOR.redacted(text) == "\ud800 [email*********] \udfff"


HOSTILE = {
    "digits": "1" * 400_000,
    "groups of digits": "1234 " * 80_000,
    "short groups of digits": "123-" * 100_000,
    "starts of accounts": "AA00 " * 80_000,
    "one long account": "AA00" * 100_000,
    "addresses without an end": ("a" * 64 + "@" + "b." * 200) * 800,
    "a long word": "a" * 400_000,
    "starts of keys": ("-----BEGIN " + "PRIVATE KEY-----") * 15_000,
    "dashes": "-" * 400_000,
    "phone numbers without an end": "+1 2 3 4" * 50_000,
    "starts of tokens": "eyJaaaaaaaaa." * 30_000,
    "names of keys": "secretaccesskey    =" * 20_000,
    "bearers": "bearer " * 57_000,
    "zero-width characters": "a\u200b" * 200_000,
}


@pytest.mark.timeout(60)  # a pattern that went back and forth over these would take hours
@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_makes_a_pattern_slow(name: str) -> None:
    assert len(REDACTOR.redacted(HOSTILE[name])) == len(HOSTILE[name])


@pytest.mark.timeout(60)
def test_no_pattern_of_a_user_makes_a_text_slow() -> None:
    own = [{"name": "nested", "regex": "(a+)+$"}, {"name": "either", "regex": "(?:a|a|aa)*b"}]
    redactor = Redactor.of(RedactConfig.model_validate({"patterns": [], "own": own}))
    text = "a" * 50_000 + "!"
    assert redactor.redacted(text) == text


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ([{"name": "x", "regex": "(a"}], "RE2 does not take it: missing )"),
        ([{"name": "x", "regex": "(?=a)b"}], "RE2 does not take it: invalid perl operator"),
        ([{"name": "x", "regex": "a*"}], "it matches empty text"),
        ([{"name": "x", "regex": "((a{1,999}){1,999})"}], "RE2 does not take it"),
        ([{"name": "card", "regex": "a"}], "card: this name is taken"),
        ([{"name": "x", "regex": "a"}] * 2, "x: this name is taken"),
        ([{"name": "a]b", "regex": "a"}], "pattern"),
        ([{"name": "x", "regex": "a" * 1_001}], "at most 1000"),
    ],
)
def test_patterns_that_are_refused(own: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RedactConfig.model_validate({"own": own})
    assert reason in str(caught.value)


def test_without_re2_only_own_patterns_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    assert Redactor.of(RedactConfig()).redacted("jane@example.com") == "[email*********]"
    with pytest.raises(ValidationError, match=r"pip install 'latentwatch\[redact\]'"):
        RedactConfig.model_validate({"own": [{"name": "x", "regex": "a"}]})
