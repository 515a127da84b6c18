"""BuiltImage: the image, built by buildah over a Debian base, and run as a container runtime would run it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.manifest import REPOSITORY

PIP_ARGUMENTS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
CERTIFICATES = "/etc/ssl/certs"
CGROUPS = Path("/sys/fs/cgroup")

# In a mount namespace of its own: the root file system read-only, /tmp in memory, /proc, the config, and the cgroups
# where a container sees its own; then the image's user, without further groups and without a way to other privileges.
_CONTAINER = r"""
root=$1 user=$2 config=$3 cgroups=$4; shift 4
for group in $cgroups; do echo $$ > "$group/cgroup.procs"; done
mount --bind "$root" "$root"
mount -t tmpfs -o size=64m,mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$config" "$root/etc/latentwatch"
mount -t tmpfs tmpfs "$root/sys"
mkdir -p "$root/sys/fs/cgroup"
for group in $cgroups; do
    seen="$root/sys/fs/cgroup"
    if [ ! -e "$group/cgroup.controllers" ]; then
        seen="$seen/$(basename "$(dirname "$group")")"
        mkdir "$seen"
    fi
    mount --bind "$group" "$seen"
done
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs chroot --userspec="$user" --groups= "$root" env -i "$@"
"""


def missing_tools() -> list[str]:
    """What a build needs and this machine lacks."""
    tools = [name for name in ("buildah", "unshare", "setpriv") if shutil.which(name) is None]
    if os.environ.get("LATENTWATCH_TEST_BASE") is None and shutil.which("debootstrap") is None:
        tools.append("debootstrap")
    return tools if os.geteuid() == 0 else [*tools, "root"]


class Images:
    """buildah with a store of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._command = ["buildah", "--root", str(folder / "store"), "--runroot", str(folder / "run")]

    def base(self) -> str:
        """A Debian with Python: the folder LATENTWATCH_TEST_BASE, or a new one. Returns the name of the image."""
        given = os.environ.get("LATENTWATCH_TEST_BASE")
        folder = Path(given) if given else self._folder / "base"
        if not given:
            packages = "--include=python3,python3-venv,ca-certificates"
            self._run(["debootstrap", "--variant=minbase", packages, "bookworm", str(folder)])
            for unused in ("usr/share/locale", "usr/share/man", "var/lib/apt/lists", "var/cache/apt"):
                shutil.rmtree(folder / unused)  # as in the usual slim images
        container = self._buildah("from", "scratch")
        self._buildah("add", "--quiet", container, str(folder), "/")
        self._buildah("config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
        self._buildah("commit", "--quiet", "--rm", "--disable-compression", container, "localhost/base")
        return "localhost/base"

    def build(self, base: str, revision: str) -> BuiltImage:
        """Builds deploy/Dockerfile; pip finds its index as it does here."""
        arguments = {"BASE": base, "REVISION": revision}
        arguments |= {name: os.environ[name] for name in PIP_ARGUMENTS if name in os.environ}
        self._buildah(
            "build", "--isolation=chroot", "--network=host", f"--volume={CERTIFICATES}:{CERTIFICATES}:ro",
            *(f"--build-arg={name}={value}" for name, value in arguments.items()),
            "--file", str(REPOSITORY / "deploy/Dockerfile"), "--tag=localhost/latentwatch", str(REPOSITORY),
        )  # fmt: skip
        config = json.loads(self._buildah("inspect", "--type=image", "localhost/latentwatch"))["OCIv1"]["config"]
        container = self._buildah("from", "localhost/latentwatch")
        return BuiltImage(Path(self._buildah("mount", container)), config)

    def archive(self, path: Path) -> int:
        """Writes the image as a compressed OCI archive and returns its size in bytes."""
        self._buildah("push", "--quiet", "localhost/latentwatch", f"oci-archive:{path}")
        return path.stat().st_size

    def remove(self) -> None:
        """Unmounts and removes all that was made."""
        self._buildah("rm", "--all")
        self._buildah("rmi", "--all", "--force")

    def _buildah(self, *args: str) -> str:
        return self._run([*self._command, *args])

    @staticmethod
    def _run(command: Sequence[str]) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{shlex.join(command)}: exit {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}")
        return done.stdout.strip()


@dataclass(frozen=True)
class BuiltImage:
    """An image, unpacked in the folder `root`."""

    root: Path
    config: Mapping[str, Any]
    """As the OCI image specification has it."""

    @property
    def labels(self) -> Mapping[str, str]:
        """The part of the usual names after org.opencontainers.image."""
        prefix = "org.opencontainers.image."
        return {k.removeprefix(prefix): v for k, v in self.config["Labels"].items() if k.startswith(prefix)}

    def packages(self) -> dict[str, str]:
        """The Python packages of the sidecar's environment and their versions."""
        (site,) = self.root.glob("opt/latentwatch/lib/python3.*/site-packages")
        names = [info.name.removesuffix(".dist-info").rsplit("-", 1) for info in site.glob("*.dist-info")]
        return {name.lower().replace("_", "-"): version for name, version in names}

    def files(self) -> Iterator[Path]:
        """Every file, link and folder, except what is mounted at run time."""
        for folder, folders, files in os.walk(self.root):
            if Path(folder) == self.root:
                folders[:] = [name for name in folders if name not in ("dev", "proc", "sys", "tmp")]
            yield from (Path(folder) / name for name in (*folders, *files))

    def command(
        self,
        config: Path,
        args: Sequence[str] | None = None,
        *,
        entrypoint: Sequence[str] | None = None,
        cgroups: Sequence[Path] = (),
    ) -> list[str]:
        """What runs the image with the folder `config` at /etc/latentwatch; `args` and `entrypoint` replace its own."""
        process = [*(self.config["Entrypoint"] if entrypoint is None else entrypoint)]
        process += self.config["Cmd"] if args is None else args
        groups = " ".join(map(str, cgroups))
        return [
            "unshare", "--mount", "--propagation=private", "sh", "-euc", _CONTAINER, "sh",
            str(self.root), self.config["User"], str(config), groups,
            f"--chdir={self.config['WorkingDir']}", *self.config["Env"], *process,
        ]  # fmt: skip

    def output(self, config: Path, *process: str, cgroups: Sequence[Path] = ()) -> subprocess.CompletedProcess[str]:
        """Runs another program of the image to its end."""
        command = self.command(config, (), entrypoint=process, cgroups=cgroups)
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def limited(cores: float, memory_bytes: int) -> Iterator[list[Path]]:
    """Control groups with these limits, of whichever version this machine has; removed at the end."""
    name = f"latentwatch-test-{os.getpid()}"
    if (CGROUPS / "cgroup.controllers").exists():
        files = {f"{name}/cpu.max": f"{cores * 100_000:.0f} 100000", f"{name}/memory.max": str(memory_bytes)}
        folders = [CGROUPS / name]
    else:
        files = {
            f"cpu/{name}/cpu.cfs_quota_us": f"{cores * 100_000:.0f}",
            f"memory/{name}/memory.limit_in_bytes": str(memory_bytes),
        }
        folders = [CGROUPS / "cpu" / name, CGROUPS / "memory" / name]
    for folder in folders:
        folder.mkdir()
    try:
        for path, text in files.items():
            (CGROUPS / path).write_text(text)
        yield folders
    finally:
        for folder in folders:
            folder.rmdir()
