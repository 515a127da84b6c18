"""WorkerProcess: an object in a child process, with its own memory, threads and libraries."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from monitor.errors import LatentwatchError, Permanent

_STOP_TIMEOUT_S = 10.0

# Messages in the pipe. To the child: (method, arguments). Back: (_DONE, result) or (_FAILED, reason).
_DONE, _FAILED = "done", "failed"


class WorkerProcess:
    """A context manager for a child process that creates `make(*arguments)` and calls its methods on request.

    Several workers may be alive, but each runs only while it handles a call. So a caller that waits for each answer
    gives all cores to one worker at a time.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        self._theirs = theirs
        self._made = False
        self._stopped = False

    def __enter__(self) -> WorkerProcess:
        """Starts the process, which then creates the object."""
        self._process.start()
        self._theirs.close()  # so that the pipe ends when the child does
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        if kind is None:
            self._process.join(_STOP_TIMEOUT_S)
        self._process.kill()  # whether it is still busy or already done
        self._process.join()

    def wait_made(self, within_s: float = math.inf) -> None:
        """Waits until the object exists. Raises Permanent with the reason if it can't be created in time."""
        if not self._made:
            self._answer(within_s)
            self._made = True

    def call(self, method: str, *arguments: Any, within_s: float = math.inf) -> Any:
        """Calls the method and returns its result. Raises Permanent if it fails or the process dies.

        A process that has not answered after `within_s` seconds is killed.
        """
        self.wait_made()
        try:
            self._pipe.send((method, arguments))
        except OSError:
            raise Permanent(self._death()) from None
        return self._answer(within_s)

    def _answer(self, within_s: float) -> Any:
        try:
            if not self._pipe.poll(None if math.isinf(within_s) else within_s):
                self._process.kill()
                self._process.join()
                self._stopped = True
                raise Permanent(f"stopped: it took longer than {within_s:.0f} s")
            outcome, value = self._pipe.recv()
        except (EOFError, OSError):
            raise Permanent(self._death()) from None
        if outcome == _FAILED:
            raise Permanent(str(value))
        return value

    def _death(self) -> str:
        if self._stopped:
            return "its process was stopped before"
        self._process.join(_STOP_TIMEOUT_S)
        code = self._process.exitcode
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"its process ended with exit code {code}{hint}"


def _serve(pipe: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and closes the pipe
    warnings.simplefilter("ignore")
    with contextlib.suppress(OSError):
        # libraries print on import, which would garble the parent's table
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    try:
        outcome, made = _outcome(make, arguments)
        pipe.send((outcome, made if outcome == _FAILED else None))
        while outcome != _FAILED:
            method, given = pipe.recv()
            pipe.send(_outcome(getattr(made, method), given))
    except (EOFError, OSError):
        return  # the parent is done or gone


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    """_DONE and the result, or _FAILED and the reason in one line."""
    try:
        return _DONE, function(*arguments)
    except ImportError as e:
        return _FAILED, f"needs {e.name}; run: pip install 'latentwatch[bench]'"
    except LatentwatchError as e:
        return _FAILED, str(e)
    except Exception as e:  # noqa: BLE001 - whatever a library raises, the other readers must still be measured
        return _FAILED, f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else 'no reason given'}"
