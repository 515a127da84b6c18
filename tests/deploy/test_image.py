"""The image, really built over a Debian base: what is in it, and that its sidecar starts and delivers alerts."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.demo.broker import EmbeddedBroker
from tests.deploy.built_image import BuiltImage, Images, limited, missing_tools
from tests.deploy.locked import locked
from tests.deploy.manifest import REPOSITORY
from tests.integration.short_events import short_event
from tests.integration.sidecar import EVENTS_DONE, Sidecar, set_count, write_config
from tests.integration.stream import Outgoing, Stream

pytestmark = [pytest.mark.image, pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(1_800)]

REVISION = "0123456789abcdef0123456789abcdef01234567"
CONFIG = Path("/etc/latentwatch/config.yaml")
EVENTS = 60
GIB = 2**30


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    missing = missing_tools()
    if missing:
        pytest.skip(f"building an image needs {', '.join(missing)}; on Debian: apt-get install buildah debootstrap")
    found = Images(tmp_path_factory.mktemp("images"))
    yield found
    found.remove()


@pytest.fixture(scope="module")
def image(images: Images) -> BuiltImage:
    base = images.base()
    started = time.monotonic()
    built = images.build(base, REVISION)
    print(f"\nimage: built in {time.monotonic() - started:.0f} s")  # noqa: T201
    return built


@pytest.fixture
def config_folder(tmp_path: Path) -> Path:
    """A folder that the image's user may read."""
    tmp_path.chmod(0o755)
    return tmp_path


def test_the_sidecars_environment_is_what_is_locked(image: BuiltImage) -> None:
    packages = image.packages()
    assert packages.pop("latentwatch")
    wanted = locked("runtime.txt")
    assert packages.items() <= wanted.items()
    assert {"numpy", "onnxruntime", "kafka-python"} <= packages.keys()


def test_nothing_installs_packages_and_nothing_runs_as_another_user(image: BuiltImage) -> None:
    found = [path for path in image.files() if not path.is_symlink()]
    special = stat.S_ISUID | stat.S_ISGID
    assert [path for path in found if path.is_file() and path.stat().st_mode & special] == []
    installers = {"pip", "pip3", "setuptools", "ensurepip"}
    assert [
        path for path in found if path.name in installers or re.match(r"(pip|setuptools)-.*\.whl$", path.name)
    ] == []


def test_the_sidecar_cannot_change_its_code_or_model(image: BuiltImage) -> None:
    own = [path for path in image.files() if path.is_relative_to(image.root / "opt")]
    assert len(own) > 1_000
    for path in own:
        status = path.lstat()
        assert status.st_uid == 0, path
        assert path.is_symlink() or not status.st_mode & stat.S_IWOTH, path


def test_it_says_what_is_in_it(image: BuiltImage) -> None:
    assert image.labels["revision"] == REVISION
    assert image.labels["licenses"] == "Apache-2.0"
    assert image.labels["base.name"] == "localhost/base"
    bom = json.loads((image.root / "usr/share/latentwatch/sbom.cdx.json").read_text())
    assert bom["bomFormat"] == "CycloneDX"
    assert bom["metadata"]["component"]["name"] == "latentwatch"
    named = {part["name"].lower().replace("_", "-"): part["version"] for part in bom["components"]}
    assert image.packages().items() <= (named | {"latentwatch": bom["metadata"]["component"]["version"]}).items()


def test_its_user_has_no_rights_and_the_root_file_system_is_read_only(image: BuiltImage, config_folder: Path) -> None:
    assert image.output(config_folder, "id", "-u").stdout == "10001\n"
    assert image.output(config_folder, "id", "-G").stdout == "10001\n"
    status = image.output(config_folder, "cat", "/proc/self/status").stdout
    assert re.search(r"^CapEff:\s0+$", status, re.MULTILINE)
    assert "Read-only file system" in image.output(config_folder, "touch", "/opt/latentwatch/new").stderr
    assert image.output(config_folder, "touch", "/tmp/new").returncode == 0


def test_it_follows_the_limits_of_its_container(image: BuiltImage, config_folder: Path) -> None:
    try:
        with limited(1, 3 * GIB // 2) as cgroups:
            done = image.output(config_folder, "latentwatch", "check", "--timeout", "1", cgroups=cgroups)
    except OSError as e:
        pytest.skip(f"no control group can be made here: {e}")
    (line,) = [line for line in done.stdout.splitlines() if "cores and memory" in line]
    print(line)  # noqa: T201
    assert "1 core" in line
    assert "1.5 GiB of memory (the limit of the container): 1 thread, " in line


def test_its_sidecar_delivers_alerts(image: BuiltImage, embedded_broker: EmbeddedBroker, config_folder: Path) -> None:
    stream = Stream(embedded_broker)
    config = write_config(config_folder, embedded_broker, stream, {"sinks": {"jsonl": {"enabled": False}}})
    config.chmod(0o644)
    stream.publish([Outgoing(short_event("image", n)) for n in range(EVENTS)])
    started = time.monotonic()
    with Sidecar(config, image.command(config_folder, ("run", "-c")), CONFIG) as sidecar:
        sidecar.until(lambda: sidecar.get("/livez")[0] == 200, "/livez")
        sidecar.until(lambda: "loading" not in sidecar.get("/readyz")[1], "everything loaded", 120)
        loaded_s = time.monotonic() - started
        sidecar.wait_ready(120)
        ready_s, cpu_s, idle_mb = time.monotonic() - started, sidecar.cpu_s(), sidecar.rss_mb()
        sidecar.until(lambda: sidecar.metric(EVENTS_DONE) == EVENTS, "every event")
        work_mb = sidecar.rss_mb()
        assert sidecar.stop(60) == 0
    assert len(stream.delivered()) == EVENTS * set_count()
    start = f"loaded in {loaded_s:.1f} s, and ready, in a new consumer group, in {ready_s:.1f} s ({cpu_s:.1f} s of CPU)"
    print(f"\nimage: {start}, RSS {idle_mb:.0f} MB when ready, {work_mb:.0f} MB after work")  # noqa: T201


def test_its_size(image: BuiltImage, images: Images, tmp_path: Path) -> None:
    unpacked = sum(path.lstat().st_size for path in image.files()) / 1e6
    packed = images.archive(tmp_path / "image.tar") / 1e6
    print(f"\nimage: {unpacked:.0f} MB unpacked, {packed:.0f} MB as a compressed archive")  # noqa: T201
    assert packed <= 350


def test_the_dockerfile_passes_the_linter() -> None:
    done = subprocess.run(
        ["hadolint", "deploy/Dockerfile"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
