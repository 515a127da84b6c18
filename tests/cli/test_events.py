"""`latentwatch events inspect` and `check --sample`: files, topics, exit codes, and what goes to which stream."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from typer.testing import CliRunner, Result

from monitor.cli.app import app
from monitor.errors import ConfigError
from tests.brokers import ApacheKafka
from tests.events.samples import ASK, native
from tests.feature_set_factory import write_set
from tests.topics import fill, new_topic

DOCS = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
GOOD = json.dumps(native()).encode()


def run(*arguments: str, stdin: bytes = b"", **env: str) -> Result:
    # one small set, which loads faster than those that ship
    paths = {"LATENTWATCH__FEATURE_SETS__PATHS": "[sets]"}
    return CliRunner().invoke(app, list(arguments), input=stdin, env={"COLUMNS": "80", "TERM": "dumb", **paths, **env})


def written(folder: Path, *lines: bytes) -> str:
    (folder / "records.jsonl").write_bytes(b"\n".join(lines))
    return "records.jsonl"


@pytest.fixture(autouse=True)
def _in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path / "sets" / "a.yaml", segments=["user", "response"])
    monkeypatch.chdir(tmp_path)


def test_a_file(tmp_path: Path) -> None:
    done = run("events", "inspect", written(tmp_path, GOOD, GOOD))
    assert (done.exit_code, done.stderr) == (0, "")
    assert ASK in done.stdout
    assert done.stdout.splitlines()[-1] == "records: 2, events: 2, bad records: 0"


@pytest.mark.parametrize("command", [("events", "inspect"), ("check", "--sample")])
def test_a_bad_record_is_3_and_the_others_are_shown(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = run(*command, written(tmp_path, GOOD, b'{"level": "INFO"}', GOOD))
    assert (done.exit_code, done.stderr) == (3, "")
    assert "records.jsonl:2\n  bad event (schema): $: not a format that is read; the keys are: level\n" in done.stdout
    assert done.stdout.endswith("records: 3, events: 2, bad records: 1\n")


def test_the_config_has_the_mapping(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("events: {mapping: {prompt: $.q}}")
    done = run("check", "--config", str(config), "--sample", written(tmp_path, b'{"q": "why", "r": "left out"}', b"{}"))
    assert done.exit_code == 3
    assert "format mapping" in done.stdout
    assert "$.r: no path of the mapping leads there" in done.stdout
    assert "$.q: finds nothing (events.mapping.prompt); the keys of $\n  are: none" in done.stdout


def test_a_wrong_path_is_an_error_of_the_config(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("events: {mapping: {prompt: q}}")
    done = run("check", "--config", str(config), "--sample", written(tmp_path, GOOD))
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception) == f"{config}: events.mapping.prompt: 'q' is not a JSON path: it has to start with $"


def test_json_is_one_object_a_record_and_the_summary_goes_elsewhere(tmp_path: Path) -> None:
    done = run("events", "inspect", "--json", "--limit", "2", written(tmp_path, GOOD, b"{", GOOD))
    assert done.exit_code == 3
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["events"][0]["segments"][0]["text"] == ASK
    assert second["bad"][0]["kind"] == "json"
    assert done.stderr == "records: 2, events: 1, bad records: 1\n"


def test_without_text(tmp_path: Path) -> None:
    for more in ((), ("--json",)):
        done = run("events", "inspect", "--no-text", *more, written(tmp_path, GOOD))
        assert (done.exit_code, ASK in done.stdout) == (0, False)


PRETTY = json.dumps(native(), indent=2).encode()
KINDS: dict[str, Callable[[], bytes]] = {
    "byte-order mark": lambda: b"\xef\xbb\xbf" + GOOD,
    "gzip": lambda: gzip.compress(GOOD),
    "zstandard": lambda: zstandard.compress(GOOD),
    "pretty-printed": lambda: PRETTY,
    "pretty-printed with a byte-order mark in gzip": lambda: gzip.compress(b"\xef\xbb\xbf" + PRETTY),
    "an array": lambda: json.dumps([native()], indent=1).encode(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_event(tmp_path: Path, kind: str) -> None:
    done = run("events", "inspect", written(tmp_path, KINDS[kind]()))
    assert (done.exit_code, ASK in done.stdout) == (0, True)
    done = run("events", "inspect", "-", stdin=KINDS[kind]())
    assert (done.exit_code, ASK in done.stdout) == (0, True)


def test_utf_16_says_what_to_do(tmp_path: Path) -> None:
    done = run("events", "inspect", written(tmp_path, GOOD.decode().encode("utf-16")))
    assert "is UTF-16: convert it with iconv -f UTF-16 -t UTF-8" in str(done.exception)


def test_only_a_topic_has_an_end_to_count_from(tmp_path: Path) -> None:
    done = run("events", "inspect", "--from-end", "1", written(tmp_path, GOOD))
    assert str(done.exception) == "--from-end: only a topic has an end to count from; leave it out for a file"


def test_a_path_that_is_not_there_is_no_topic(tmp_path: Path) -> None:
    done = run("events", "inspect", str(tmp_path / "no.jsonl"))
    assert str(done.exception) == f"{tmp_path}/no.jsonl: cannot be read: No such file or directory"


def test_the_example_of_the_page(tmp_path: Path) -> None:
    body = {
        "id": "chat-81f4",
        "model": "gpt-x",
        "messages": [
            {"role": "user", "content": "How do I delete old log files?"},
            {"role": "narrator", "content": [{"text": "It is dark."}, {"type": "image_url"}]},
        ],
        "response": "Use find with -mtime and -delete.",
        "note": "Written by the support team.",
    }
    example = re.search(r"```\nrecords\.jsonl(.*?)```", DOCS, re.DOTALL)
    assert example is not None
    done = run("events", "inspect", written(tmp_path, json.dumps(body).encode()))
    assert done.stdout[: done.stdout.index("records: 1,")] == f"records.jsonl{example[1]}"


@pytest.mark.kafka
def test_a_topic_shows_no_text_unless_asked_to(apache_kafka: ApacheKafka) -> None:
    topic = new_topic(apache_kafka)
    fill(apache_kafka, topic, [b"{", GOOD, GOOD])
    env = {"LATENTWATCH__KAFKA__BOOTSTRAP_SERVERS": apache_kafka.bootstrap_servers}
    done = run("events", "inspect", topic, "--from-end", "2", **env)
    assert (done.exit_code, ASK in done.stdout) == (0, False)
    assert f"{topic}-0 offset 1: format native" in done.stdout
    assert done.stdout.endswith("records: 2, events: 2, bad records: 0\n")
    done = run("events", "inspect", topic, "--text", "--limit", "2", **env)
    assert (done.exit_code, ASK in done.stdout) == (3, True)
    assert f"{topic}-0 offset 0\n  bad event (json)" in done.stdout
    done = run("events", "inspect", "no-such-file-or-topic", **env)
    assert str(done.exception).startswith(
        "no-such-file-or-topic: no such file here, and as a topic: topic no-such-file"
    )


def test_no_shipped_set_looks_at_turns_of_unknown_roles(tmp_path: Path) -> None:
    """docs/events.md and docs/mapping.md say so."""
    body = native(messages=[{"role": "narrator", "content": ASK}])
    shipped = json.dumps(["builtin:smollm2-135m-instruct"])
    name = written(tmp_path, json.dumps(body).encode())
    done = run("events", "inspect", name, LATENTWATCH__FEATURE_SETS__PATHS=shipped)
    assert "    other: no feature set reads this segment\n" in done.stdout
    assert "response: no feature set" not in done.stdout
