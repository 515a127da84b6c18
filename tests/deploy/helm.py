"""Helm: renders copies of the charts; every rendering is made once."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.manifest import REPOSITORY, Document, documents_of

CHARTS = REPOSITORY / "deploy/helm"
VALUES = Path(__file__).parent / "chart_values"
_EXAMPLE = "examples/llm-server"

SCENARIOS = (
    "standalone", "hpa", "keda", "statefulset", "job", "sidecar", "sidecar_plain", "sidecar_pod_topic", "sidecar_http",
    "review",
)  # fmt: skip
"""Each is a values file in chart_values; those of sidecars are values of the example chart."""


def helm_program() -> str | None:
    """From KUBEBUILDER_ASSETS or the PATH."""
    return shutil.which("helm", path=os.pathsep.join([os.environ.get("KUBEBUILDER_ASSETS", ""), os.environ["PATH"]]))


class Helm:
    """Helm with folders of its own, on a copy of deploy/helm in which the example chart has its dependency."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._rendered: dict[tuple[str, ...], subprocess.CompletedProcess[str]] = {}
        self.charts = folder / "charts"
        shutil.copytree(CHARTS, self.charts, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
        done = self.run("dependency", "update", str(self.charts / _EXAMPLE))
        assert done.returncode == 0, done.stderr

    @property
    def environment(self) -> dict[str, str]:
        homes = {f"HELM_{name}_HOME": str(self._folder / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        path = os.pathsep.join([str(Path(self._program).parent), os.environ["PATH"]])
        return {"PATH": path, "HOME": str(self._folder), **homes}

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        command = [self._program, *args]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)

    def template(
        self, scenario: str, values: dict[str, Any] | None = None, kube_version: str = "1.29.0"
    ) -> subprocess.CompletedProcess[str]:
        """`helm template` with the values file of a scenario ("": none) and further `values` of latentwatch."""
        sidecar = scenario.startswith("sidecar")
        chart = self.charts / (_EXAMPLE if sidecar else "latentwatch")
        more = yaml.safe_dump({"latentwatch": values} if sidecar else values) if values else ""
        key = (scenario, kube_version, more)
        if key not in self._rendered:
            args = ["template", "lw", str(chart), "--namespace=payments", f"--kube-version={kube_version}"]
            args += ["-f", str(VALUES / f"{scenario}.yaml")] if scenario else []
            if more:
                file = self._folder / f"more-{len(self._rendered)}.yaml"
                file.write_text(more)
                args += ["-f", str(file)]
            self._rendered[key] = self.run(*args)
        return self._rendered[key]

    def documents(self, scenario: str, values: dict[str, Any] | None = None) -> list[Document]:
        """What a scenario renders, parsed; a copy for every caller."""
        done = self.template(scenario, values)
        assert done.returncode == 0, done.stderr
        return documents_of(done.stdout)
