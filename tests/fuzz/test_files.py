"""A few hundred of the hostile files that `make fuzz` makes by the hundred thousand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.files import TARGETS, Target, fault_of, run_files

_CASES = 70 * len(TARGETS)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_the_cases_begin_with_is_read(target: Target, tmp_path: Path) -> None:
    for name, make in (target.beside or {}).items():
        (tmp_path / name).write_bytes(make())
    for seed in target.seeds():
        path = tmp_path / target.file
        path.write_bytes(seed)
        read, fault = fault_of(target, path)
        # the manifest names a graph that is not there, and is refused for that alone
        assert (read, fault) == (target.name != "bundle manifest", "")


def test_every_file_is_read_or_refused_in_words(tmp_path: Path) -> None:
    counts, faults = run_files(0, _CASES, tmp_path)
    assert faults == []
    assert counts.total() == _CASES
    refused = {name for name, state in counts if state == "refused"}
    assert refused == {target.name for target in TARGETS}


def test_the_check_sees_a_broken_promise(tmp_path: Path) -> None:
    def reads(path: Path) -> None:
        raise KeyError("x")

    (tmp_path / "f").write_bytes(b"")
    assert fault_of(Target("t", "f", lambda: [b""], reads), tmp_path / "f") == (False, "KeyError: 'x'")
