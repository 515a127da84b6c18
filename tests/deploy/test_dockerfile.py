"""deploy/Dockerfile, as far as it can be checked without a build."""

from __future__ import annotations

import json
import re
import shlex
from typing import NamedTuple

import pytest

from monitor.config.load import load_config
from monitor.config.sections import Config
from tests.deploy.manifest import REPOSITORY, pod_spec, sidecar


class Instruction(NamedTuple):
    stage: int  # -1 before the first FROM
    name: str
    rest: str


def _parse(text: str) -> list[Instruction]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    stage, found = -1, []
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        name, rest = line.split(None, 1)
        stage += name.upper() == "FROM"
        found.append(Instruction(stage, name.upper(), rest.strip()))
    return found


INSTRUCTIONS = _parse((REPOSITORY / "deploy/Dockerfile").read_text())
LAST_STAGE = INSTRUCTIONS[-1].stage


def _final(name: str) -> list[str]:
    return [i.rest for i in INSTRUCTIONS if i.stage == LAST_STAGE and i.name == name]


def _final_env() -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in _final("ENV") for pair in shlex.split(rest))


def test_every_stage_builds_on_the_base_argument() -> None:
    assert INSTRUCTIONS[0].name == "ARG"
    assert INSTRUCTIONS[0].rest.startswith("BASE=")
    assert LAST_STAGE == 1
    assert all(i.rest.split()[0] == "${BASE}" for i in INSTRUCTIONS if i.name == "FROM")


def test_the_last_user_is_a_number_and_not_root(documents: list[dict]) -> None:
    user = _final("USER")[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    context = pod_spec(documents)["securityContext"]
    assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert context["fsGroup"] == context["runAsGroup"]


def test_nothing_is_added_from_the_network() -> None:
    assert not [i for i in INSTRUCTIONS if i.name == "ADD"]
    assert not [i for i in INSTRUCTIONS if re.search(r"https?://|\b(curl|wget|git clone)\b", i.rest)]


def test_it_starts_without_a_shell(documents: list[dict]) -> None:
    (entrypoint,), (command,) = _final("ENTRYPOINT"), _final("CMD")
    assert json.loads(entrypoint) == ["latentwatch"]
    assert json.loads(command) == ["run", "-c", "/etc/latentwatch/config.yaml"] == sidecar(documents)["args"]


@pytest.mark.parametrize(
    "source",
    [
        word
        for i in INSTRUCTIONS
        if i.name == "COPY" and "--from=" not in i.rest
        for word in i.rest.split()[:-1]
        if not word.startswith("--")
    ],
)
def test_a_copied_file_exists_and_reaches_the_build(source: str) -> None:
    assert (REPOSITORY / source).exists()
    allowed = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert f"!{source}/" in allowed or f"!{source}" in allowed


def test_all_that_is_written_lies_in_a_volume(documents: list[dict]) -> None:
    volumes = json.loads(_final("VOLUME")[-1])
    env = _final_env()
    for path in (env["HOME"], env["TMPDIR"], _final("WORKDIR")[-1]):
        assert any(path == v or path.startswith(f"{v}/") for v in volumes), path
    assert set(volumes) <= {m["mountPath"] for m in sidecar(documents)["volumeMounts"]}


def test_its_reader_is_the_one_that_the_builder_compiled() -> None:
    bundle = load_config(None, _final_env()).reader.bundle
    assert f"--from=builder {bundle} {bundle}" in _final("COPY")
    compiled = [i for i in INSTRUCTIONS if re.search(rf"\blatentwatch compile --out {bundle}\b", i.rest)]
    assert [i.stage for i in compiled] == [0]
    assert f"chmod -R a=rX {bundle}" in compiled[0].rest


def test_what_only_compiling_needs_stays_in_the_builder() -> None:
    copied = [rest.split()[1] for rest in _final("COPY")]
    assert copied == ["/opt/latentwatch-reader", "/opt/latentwatch"]
    assert not any("--chown" in rest for rest in _final("COPY"))  # so root owns them
    into_the_copied = [
        command
        for i in INSTRUCTIONS
        for command in i.rest.split("&&")
        if "--python /opt/latentwatch/bin/python" in command
    ]
    assert len(into_the_copied) == 1
    assert into_the_copied[0].split("--constraint constraints.txt")[1].strip() == '"${wheel}"'


def test_the_exposed_port_is_the_health_port() -> None:
    assert _final("EXPOSE") == [str(Config().health.port)]
