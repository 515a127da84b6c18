"""A real Kubernetes API server for tests: etcd and kube-apiserver on loopback, and kubectl to talk to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.brokers import free_ports

__all__ = ["KubernetesApi", "kubernetes_api"]

TOKEN = "latentwatch-tests"


class KubernetesApi:
    """kubectl against the server. No kubelet and no controllers: objects are checked and stored, nothing runs."""

    def __init__(self, kubectl: str, kubeconfig: Path) -> None:
        self._kubectl = kubectl
        self._kubeconfig = kubeconfig

    def kubectl(self, *args: str, documents: list[dict[str, Any]] | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl, with `documents` on its standard input."""
        home = self._kubeconfig.parent
        return subprocess.run(
            [self._kubectl, "--kubeconfig", str(self._kubeconfig), "--cache-dir", str(home / "cache"), *args],
            input=yaml.safe_dump_all(documents) if documents is not None else "",
            env={"HOME": str(home), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def create(self, *documents: dict[str, Any]) -> None:
        """Store documents for real."""
        done = self.kubectl("apply", "-f", "-", documents=list(documents))
        assert done.returncode == 0, done.stderr

    def dry_run(self, *documents: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """Have the server check documents with every admission rule, and store nothing."""
        return self.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", documents=list(documents))


@pytest.fixture(scope="session")
def kubernetes_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    """One API server for the whole session; needs KUBEBUILDER_ASSETS, as controller-runtime's setup-envtest sets it."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if not folder:
        pytest.skip("KUBEBUILDER_ASSETS is not set: name a folder with etcd and kube-apiserver (see CONTRIBUTING.md)")
    assets = Path(folder)
    absent = [name for name in ("etcd", "kube-apiserver") if not os.access(assets / name, os.X_OK)]
    assert not absent, f"KUBEBUILDER_ASSETS={folder} has no executable {', '.join(absent)}"
    kubectl = shutil.which("kubectl", path=f"{assets}{os.pathsep}{os.environ['PATH']}")
    if kubectl is None:
        pytest.skip("kubectl is neither in KUBEBUILDER_ASSETS nor on the PATH")

    home = tmp_path_factory.mktemp("kubernetes")
    client, peer, secure = free_ports(3)
    etcd_url = f"http://127.0.0.1:{client}"
    _write_service_account_key(home / "sa.key")
    (home / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
    etcd = [
        str(assets / "etcd"),
        f"--data-dir={home / 'etcd'}",
        f"--listen-client-urls={etcd_url}",
        f"--advertise-client-urls={etcd_url}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        "--unsafe-no-fsync",
        "--log-level=error",
    ]
    api_server = [
        str(assets / "kube-apiserver"),
        f"--etcd-servers={etcd_url}",
        f"--cert-dir={home / 'certs'}",
        "--bind-address=127.0.0.1",
        f"--secure-port={secure}",
        "--service-account-issuer=https://kubernetes.default",
        f"--service-account-key-file={home / 'sa.key'}",
        f"--service-account-signing-key-file={home / 'sa.key'}",
        f"--token-auth-file={home / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--disable-admission-plugins=ServiceAccount",  # needs a controller that hands out accounts
        "--service-cluster-ip-range=10.96.0.0/24",
        "--profiling=false",
    ]
    url = f"https://127.0.0.1:{secure}"
    with _running(etcd, home / "etcd.log"), _running(api_server, home / "kube-apiserver.log") as server:
        _wait_until_ready(f"{url}/readyz", server, home / "kube-apiserver.log")
        kubeconfig = home / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(_kubeconfig(url)))
        yield KubernetesApi(kubectl, kubeconfig)


@contextlib.contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, cwd=log.parent) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _write_service_account_key(path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _wait_until_ready(url: str, server: subprocess.Popen[bytes], log: Path, timeout_s: float = 60.0) -> None:
    trust_all = ssl.create_default_context()
    trust_all.check_hostname = False
    trust_all.verify_mode = ssl.CERT_NONE  # the server makes its own certificate, on loopback
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=5, context=trust_all) as answer:
                if answer.read() == b"ok":
                    return
        except urllib.error.HTTPError as not_yet:
            not_yet.close()
        except OSError:
            pass
        time.sleep(0.1)
    pytest.fail(f"kube-apiserver did not become ready:\n{log.read_text()[-2000:]}")


def _kubeconfig(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "admin", "user": {"token": TOKEN}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "admin"}}],
        "current-context": "tests",
    }
