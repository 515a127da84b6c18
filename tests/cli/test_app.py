"""The command as a user sees it: help, results, messages and exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer

import monitor
from monitor.alerts.alert import Alert
from monitor.cli.app import app
from tests.alert_factory import make_alert, make_content
from tests.feature_set_factory import set_data, write_set

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
ENTRY = "import sys; sys.argv[0] = 'latentwatch'; from monitor.cli.app import main; main()"


def latentwatch(*arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LATENTWATCH", "_LATENTWATCH"))}
    return subprocess.run(
        [sys.executable, "-c", ENTRY, *arguments],
        cwd=ROOT,
        env={**kept, "COLUMNS": "200", "TERM": "dumb", **env},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()


def commands(group: Any, path: str = "latentwatch") -> dict[str, Any]:
    found = {}
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        inner = getattr(command, "commands", None)
        found |= commands(command, f"{path} {name}") if inner else {f"{path} {name}": command}
    return found


COMMANDS = commands(typer.main.get_command(app))


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_command_and_option_is_documented(path: str) -> None:
    command = COMMANDS[path]
    summary = command.help.splitlines()[0]
    assert f"| [`{path}`](#{path.replace(' ', '-')}) | {summary} |" in DOCS
    section = re.search(rf"^## {path}$(.*?)(?=^## |\Z)", DOCS, re.MULTILINE | re.DOTALL)
    assert section is not None
    documented = set(re.findall(r"`(--?[a-z-]+)`", "\n".join(re.findall(r"^\| (`-.*?) \|", section[1], re.MULTILINE))))
    given = [p for p in command.params if p.param_type_name == "option"]
    options = {o for p in given for o in [*p.opts, *p.secondary_opts] if o != "--help"}
    assert documented == options


def test_no_command_is_documented_that_does_not_exist() -> None:
    assert set(re.findall(r"^## (latentwatch .*)$", DOCS, re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [[], ["run"], ["scan"], ["check"], ["sets", "show"], ["lab"], ["lab", "train"]],
    ids=" ".join,
)
def test_help(arguments: list[str]) -> None:
    done = latentwatch(*arguments, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: {' '.join(['latentwatch', *arguments])}" in done.stdout


@pytest.mark.parametrize("argument", ["version", "--version"])
def test_version(argument: str) -> None:
    done = latentwatch(argument)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"latentwatch {monitor.__version__}\n", "")


def test_config_schema() -> None:
    done = latentwatch("config", "schema")
    assert (done.returncode, done.stderr) == (0, "")
    schema = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert "kafka" in schema["properties"]


def test_alerts_schema_accepts_alerts() -> None:
    done = latentwatch("alerts", "schema")
    assert (done.returncode, done.stderr) == (0, "")
    schema = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for alert in (make_alert(), make_alert(content=make_content(), traceparent=None, trace_id=None)):
        validator.validate(json.loads(alert.to_json()))
    assert not validator.is_valid({**json.loads(make_alert().to_json()), "severity": "urgent"})


def test_completion_scripts() -> None:
    for shell in ("bash", "zsh"):
        done = latentwatch(_LATENTWATCH_COMPLETE=f"source_{shell}")
        assert done.returncode == 0
        assert "_LATENTWATCH_COMPLETE=complete_" + shell in done.stdout
    done = latentwatch(_LATENTWATCH_COMPLETE="complete_bash", COMP_WORDS="latentwatch s", COMP_CWORD="1")
    assert done.stdout.split() == ["scan", "size", "sets", "sae"]


# ---- exit codes of processes


@pytest.mark.parametrize("arguments", [["nope"], ["scan"], ["scan", "x", "--nope"], ["check", "--timeout", "0"]])
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    done = latentwatch(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert any("Usage: latentwatch" in line for line in errors(done))


@pytest.mark.parametrize(
    ("typed", "hint"),
    [("scn", "Did you mean scan?"), ("laab", "Did you mean lab?"), ("start", "The commands are run, scan,")],
)
def test_an_unknown_command_is_answered_with_those_that_exist(typed: str, hint: str) -> None:
    done = latentwatch(typed)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"No such command '{typed}'. {hint}" in done.stderr


HEAVY = (
    "datasets", "gguf", "jinja2", "kafka", "matplotlib", "numpy", "onnx", "onnxruntime", "opentelemetry",
    "prometheus_client", "requests", "sae_lens", "safetensors", "sklearn", "tokenizers", "torch",
    "transformers", "yaml",
)  # fmt: skip


@pytest.mark.parametrize("statement", ["import monitor.cli.app", ENTRY.replace("main()", "app(['version'])")])
def test_the_command_starts_without_heavy_libraries(statement: str) -> None:
    code = (
        f"import atexit, sys; heavy = {HEAVY!r}; "
        "atexit.register(lambda: print(sorted({m.split('.')[0] for m in sys.modules} & set(heavy)), file=sys.stderr)); "
        f"{statement.replace('import main', 'import app')}"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


@pytest.mark.parametrize("command", [["run"], ["scan", "x.jsonl"], ["sets", "show", "x"]])
def test_a_bad_config_is_2_with_every_problem(command: list[str], tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("source: {topics: x}\nlog: {level: loud}\n")
    done = latentwatch(*command, "--config", str(path), LATENTWATCH__HEALTH__PORT="-1")
    assert (done.returncode, done.stdout) == (2, "")
    lines = errors(done)
    assert len(lines) == 3
    assert all(line.startswith("error: ") for line in lines)
    assert f"error: {path}: source.topics: unknown key" in lines


def test_check_lists_its_problems_and_is_2(tmp_path: Path) -> None:
    done = latentwatch("check", "--config", str(tmp_path / "no.yaml"))
    assert done.returncode == 2
    assert "no.yaml: cannot be read: No such file or directory" in done.stdout
    assert errors(done) == []


def test_a_missing_file_to_scan_is_2(tmp_path: Path) -> None:
    done = latentwatch("scan", str(tmp_path / "no.jsonl"))
    assert (done.returncode, done.stdout) == (2, "")
    assert errors(done) == [f"error: {tmp_path}/no.jsonl: cannot be read: No such file or directory"]


def test_a_set_for_another_model_is_2(tmp_path: Path) -> None:
    write_set(tmp_path / "sets" / "a.yaml")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "m.safetensors").write_bytes(b"weights")
    env = {
        "LATENTWATCH__FEATURE_SETS__PATHS": json.dumps([str(tmp_path / "sets")]),
        "LATENTWATCH__READER__MODEL": str(tmp_path / "model"),
    }
    done = latentwatch("scan", "-", **env)
    assert done.returncode == 2
    assert any("feature indices mean nothing on another model" in line for line in errors(done))


def test_sets(tmp_path: Path) -> None:
    write_set(tmp_path / "a.yaml", title="[bold]Unsafe[/] code", references=["https://example.org"])
    paths = {"LATENTWATCH__FEATURE_SETS__PATHS": json.dumps([str(tmp_path)])}
    listed = latentwatch("sets", "list", **paths)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "unsafe-code" in listed.stdout
    shown = latentwatch("sets", "show", "unsafe-code", **paths)
    assert shown.returncode == 0
    assert "[bold]Unsafe[/] code" in shown.stdout  # text of a set is never markup
    severity = {"LATENTWATCH__FEATURE_SETS__OVERRIDES__unsafe-code__SEVERITY": "critical"}
    as_json = latentwatch("sets", "show", "unsafe-code", "--json", **paths, **severity)
    assert json.loads(as_json.stdout)["severity"] == "critical"
    assert json.loads(as_json.stdout)["reader"]["model"] == set_data()["reader"]["model"]
    unknown = latentwatch("sets", "show", "nope", **paths)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert errors(unknown) == ["error: no set nope in use; `latentwatch sets list` shows them"]


# ---- exit codes of a scan, with an engine that needs no model

SCAN = """
import sys
from unittest.mock import patch
from monitor.assembly import artefacts, build
from monitor.cli.app import main
from tests.test_pipeline import SmallEngine
sys.argv[0] = "latentwatch"
with patch.object(artefacts, "load_artefacts"), patch.object(build, "build_engine", return_value=SmallEngine()):
    main()
"""


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    sets = write_set(tmp_path / "sets" / "a.yaml")
    monkeypatch.setattr(f"{__name__}.ENTRY", SCAN)

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return latentwatch("scan", *arguments, stdin=stdin, LATENTWATCH__FEATURE_SETS__PATHS=json.dumps([str(sets)]))

    return run


GOOD = '{"id": "a", "response": "an alert"}\n{"id": "b", "response": "fine"}\n'


def test_a_scan_of_good_events_is_0(scan: Any) -> None:
    done = scan("-", stdin=GOOD)
    assert done.returncode == 0
    assert [Alert.from_json(line).event.id for line in done.stdout.splitlines()] == ["a"]
    assert errors(done) == ["2 events, 6 tokens, 1 alerts, 0 bad"]


def test_a_scan_with_bad_events_is_3_and_names_them(scan: Any) -> None:
    done = scan("-", stdin="{}\n" + GOOD)
    assert done.returncode == 3
    assert len(done.stdout.splitlines()) == 1
    assert errors(done) == [
        "bad event: -:1: $: not a format that is read; the keys are: none",
        "2 events, 6 tokens, 1 alerts, 1 bad",
    ]


def test_a_scan_into_files(scan: Any, tmp_path: Path) -> None:
    out, bad, source = tmp_path / "out.jsonl", tmp_path / "bad.jsonl", tmp_path / "in.jsonl"
    source.write_text(GOOD + "nonsense\n")
    done = scan(str(source), "--out", str(out), "--bad", str(bad))
    assert (done.returncode, done.stdout) == (3, "")
    assert [Alert.from_json(line).event.id for line in out.read_text().splitlines()] == ["a"]
    assert [json.loads(line)["offset"] for line in bad.read_text().splitlines()] == [3]


def test_a_scan_that_cannot_go_on_is_1(scan: Any, tmp_path: Path) -> None:
    done = scan("-", stdin='{"id": "a", "response": "boom"}\n' * 10)
    assert done.returncode == 1
    assert "error: the reader failed on 10 events in a row: the reader broke" in done.stderr.splitlines()


def test_a_scan_into_a_folder_is_2(scan: Any, tmp_path: Path) -> None:
    done = scan("-", "--out", str(tmp_path), stdin=GOOD)
    assert done.returncode == 2
    assert errors(done) == [f"error: --out: {tmp_path}: cannot be written: Is a directory"]


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_config_does_not_steer_the_terminal(command: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text('"\\e[2Jkey": 1\n')
    done = latentwatch(command, "--config", str(path))
    assert "<U+001B>[2Jkey" in done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
