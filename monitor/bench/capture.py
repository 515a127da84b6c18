"""What publishing events costs a request: `python -m monitor.bench.capture` prints a table.

One small server streams the same answer in each case: alone, behind the middleware, behind the middleware while the
destination of the events is down, and behind the proxy. Requests go to the cases in turn, so that they share whatever
else the machine does. The CPU time is that of the case's own process, which what else runs hardly changes.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from monitor.errors import ConfigError, Retryable

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from monitor.producers.middleware import AsgiApp
    from monitor.producers.transport import Message

_REQUESTS = 2_000
_WARM_UP = 200
_CHUNKS = 32
_PROMPT_CHARS = 2_000
_CASES = ("direct", "middleware", "middleware, destination down", "proxy and middleware")
_CPU_PATH = "/cpu"
_START_S = 60.0


def main(requests: int = _REQUESTS, warm_up: int = _WARM_UP) -> None:
    """Measures and prints."""
    seconds: dict[str, list[float]] = {case: [] for case in _CASES}
    cpu: dict[str, float] = {}
    with contextlib.ExitStack() as exits:
        ports = {case: exits.enter_context(_server(case, None)) for case in _CASES[:-1]}
        upstream = exits.enter_context(_server("direct", None))
        ports[_CASES[-1]] = exits.enter_context(_server(_CASES[-1], upstream))
        callers = {case: exits.enter_context(contextlib.closing(_Caller(port))) for case, port in ports.items()}
        for number in range(warm_up + requests):
            for case in _CASES:
                if number == warm_up:
                    cpu[case] = -callers[case].cpu_s()
                took = callers[case].ask()
                if number >= warm_up:
                    seconds[case].append(took)
        for case in _CASES:
            cpu[case] += callers[case].cpu_s()
    print("\n".join(_table(seconds, cpu, requests)))  # noqa: T201 - what this program is for


@dataclass(frozen=True)
class _Down:
    """A Transport to nowhere, or one that takes everything."""

    down: bool

    def send(self, messages: Sequence[Message]) -> None:  # noqa: ARG002
        if self.down:
            raise Retryable("down", 1.0)

    def close(self) -> None:
        pass


class _Caller:
    """One client on one connection that stays open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        messages = [{"role": "user", "content": "x" * _PROMPT_CHARS}]
        self._body = json.dumps({"model": "m", "stream": True, "messages": messages})

    def ask(self) -> float:
        """Seconds from the request to the last byte of the answer."""
        started = time.perf_counter()
        self._connection.request("POST", "/v1/chat/completions", self._body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        body = answer.read()
        took = time.perf_counter() - started
        if answer.status != 200 or body.count(b"data: ") != _CHUNKS + 1:
            raise RuntimeError(f"a broken answer: {answer.status}, {len(body)} bytes")
        return took

    def cpu_s(self) -> float:
        """CPU time that the server's process has used."""
        self._connection.request("GET", _CPU_PATH)
        return float(self._connection.getresponse().read())

    def close(self) -> None:
        self._connection.close()


async def _answer(_scope: Any, receive: Any, send: Any) -> None:
    """A model server without a model."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for number in range(_CHUNKS):
        choice = {"index": 0, "delta": {"content": f"word {number} "}}
        body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
        piece = b"data: " + json.dumps(body).encode() + b"\n\n"
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


def _with_cpu(app: AsgiApp) -> AsgiApp:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") != _CPU_PATH:
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(time.process_time()).encode()})

    return answer


def _app(case: str, upstream: int | None) -> AsgiApp:
    from monitor.producers.forward import Forward
    from monitor.producers.middleware import CaptureMiddleware
    from monitor.producers.publisher import Publisher

    app: AsgiApp = _answer if upstream is None else Forward(f"http://127.0.0.1:{upstream}")
    return app if case == "direct" else CaptureMiddleware(app, Publisher(_Down("down" in case)))


def _serve(case: str, upstream: int | None, port: Connection) -> None:
    import uvicorn

    from monitor.sources.http_server import tcp_socket

    with tcp_socket("127.0.0.1", 0) as listening:
        port.send(listening.getsockname()[1])
        config = uvicorn.Config(_with_cpu(_app(case, upstream)), http="h11", log_config=None, access_log=False)
        uvicorn.Server(config).run(sockets=[listening])


@contextlib.contextmanager
def _server(case: str, upstream: int | None) -> Iterator[int]:
    """The port of a server in a process of its own."""
    processes = multiprocessing.get_context("spawn")
    ours, theirs = processes.Pipe()
    process = processes.Process(target=_serve, args=(case, upstream, theirs), daemon=True)
    process.start()
    try:
        if not ours.poll(_START_S):
            raise ConfigError("a server of the measurement did not start")
        yield int(ours.recv())
    finally:
        process.kill()
        process.join()


def _table(seconds: dict[str, list[float]], cpu: dict[str, float], requests: int) -> Iterator[str]:
    yield f"{requests} requests of {_PROMPT_CHARS} characters each, {_CHUNKS} streamed chunks, milliseconds a request:"
    yield ""
    yield "| | median | p99 | median, added | p99, added | CPU | CPU, added |"
    yield "|---|---|---|---|---|---|---|"
    base = np.percentile(seconds["direct"], [50, 99]) * 1e3
    cpu_ms = {case: cpu[case] / requests * 1e3 for case in seconds}
    for case, taken in seconds.items():
        median, p99 = np.percentile(taken, [50, 99]) * 1e3
        added = cpu_ms[case] - cpu_ms["direct"]
        latency = f"{median:.2f} | {p99:.2f} | {median - base[0]:+.2f} | {p99 - base[1]:+.2f}"
        yield f"| {case} | {latency} | {cpu_ms[case]:.2f} | {added:+.2f} |"


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
