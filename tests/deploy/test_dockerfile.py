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
    stage: str  # empty before the first FROM
    name: str
    rest: str


def _parse(text: str) -> list[Instruction]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    stage, found = "", []
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        name, rest = line.split(None, 1)
        if name.upper() == "FROM":
            stage = rest.split(" AS ")[1].strip()
        found.append(Instruction(stage, name.upper(), rest.strip()))
    return found


INSTRUCTIONS = _parse((REPOSITORY / "deploy/Dockerfile").read_text())
PARENTS = {i.stage: i.rest.split()[0] for i in INSTRUCTIONS if i.name == "FROM"}
TARGETS = ("sidecar", "gpu")


def _image(name: str, target: str = "sidecar") -> list[str]:
    """What follows `name` in the stages that make up the image `target`."""
    stages = [target]
    while PARENTS[stages[0]] in PARENTS:
        stages.insert(0, PARENTS[stages[0]])
    return [i.rest for stage in stages for i in INSTRUCTIONS if i.stage == stage and i.name == name]


def _env(target: str = "sidecar") -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in _image("ENV", target) for pair in shlex.split(rest))


def test_every_stage_builds_on_the_two_bases() -> None:
    assert [i.rest.split("=")[0] for i in INSTRUCTIONS if not i.stage] == ["BASE", "RUNTIME_BASE"]
    outer = {stage: parent for stage, parent in PARENTS.items() if parent not in PARENTS}
    assert outer == {"builder": "${BASE}", "base": "${RUNTIME_BASE}"}


def test_a_build_without_a_target_makes_the_sidecar() -> None:
    assert INSTRUCTIONS[-1].stage == "sidecar"


def test_the_last_user_is_a_number_and_not_root(documents: list[dict]) -> None:
    user = _image("USER")[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    context = pod_spec(documents)["securityContext"]
    assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert context["fsGroup"] == context["runAsGroup"]


def test_nothing_is_added_from_the_network() -> None:
    assert not [i for i in INSTRUCTIONS if i.name == "ADD"]
    assert not [i for i in INSTRUCTIONS if re.search(r"https?://|\b(curl|wget|git clone)\b", i.rest)]


def test_it_starts_without_a_shell(documents: list[dict]) -> None:
    (entrypoint,), (command,) = _image("ENTRYPOINT"), _image("CMD")
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


@pytest.mark.parametrize("target", TARGETS)
def test_all_that_is_written_lies_in_a_volume(target: str, documents: list[dict]) -> None:
    volumes = json.loads(_image("VOLUME", target)[-1])
    env = _env(target)
    for path in (env["HOME"], env["TMPDIR"], _image("WORKDIR", target)[-1]):
        assert any(path == v or path.startswith(f"{v}/") for v in volumes), path
    assert set(volumes) <= {m["mountPath"] for m in sidecar(documents)["volumeMounts"]}


def test_its_reader_is_the_one_that_the_builder_compiled() -> None:
    bundle = load_config(None, _env()).reader.bundle
    assert f"--from=sidecar-builder {bundle} {bundle}" in _image("COPY")
    compiled = [i for i in INSTRUCTIONS if re.search(rf"\blatentwatch compile --out {bundle}\b", i.rest)]
    assert [i.stage for i in compiled] == ["sidecar-builder"]
    assert f"chmod -R a=rX {bundle}" in compiled[0].rest


def test_the_gpus_reader_is_torch_with_the_model_that_the_builder_converted() -> None:
    reader = load_config(None, _env("gpu")).reader
    assert (reader.engine, reader.device, reader.bundle) == ("torch", "cuda", None)
    assert f"--from=gpu-builder {reader.cache_dir} {reader.cache_dir}" in _image("COPY", "gpu")
    assert any(f"LATENTWATCH__READER__CACHE_DIR={reader.cache_dir} " in run for run in _image("RUN", "gpu-builder"))


@pytest.mark.parametrize(
    ("target", "own"), [("sidecar", "/opt/latentwatch-reader"), ("gpu", "/opt/latentwatch-models")]
)
def test_what_only_building_needs_stays_in_the_builder(target: str, own: str) -> None:
    copied = [rest.split()[1] for rest in _image("COPY", target)]
    assert copied == ["/opt/sbom.cdx.json", own, "/opt/latentwatch"]
    assert not any("--chown" in rest for rest in _image("COPY", target))  # so root owns them


def test_everything_is_installed_by_hash() -> None:
    assert "PIP_REQUIRE_HASHES=1" in _image("ENV", "builder")[0]
    assert "PIP_NO_DEPS=1" in _image("ENV", "builder")[0]
    commands = [c for i in INSTRUCTIONS if i.name == "RUN" for c in i.rest.split("&&") if " install " in f"{c} "]
    from_files = [c for c in commands if re.search(r"\bpip\b", c) and " -r " in c]
    local = [c for c in commands if re.search(r"\bpip\b", c) and "--no-index /wheels/" in c]
    assert [c for c in commands if re.search(r"\bpip\b", c) and c not in (*from_files, *local)] == []
    assert len(from_files) == 3


def test_the_exposed_port_is_the_health_port() -> None:
    assert _image("EXPOSE") == [str(Config().health.port)]
