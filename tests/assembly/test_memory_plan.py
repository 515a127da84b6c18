"""What a reader takes of the memory that there is."""

from __future__ import annotations

import pytest

from monitor.assembly.memory_plan import SMALL_BATCH_TOKENS, MemoryPlan
from monitor.config.sections import BATCH_TOKENS, PREFIX_CACHE_BYTES, Config
from monitor.machine import Limits
from monitor.readers.onnx.bundle import Bundle
from tests.tiny_bundle import tiny_source

MIB = 2**20
PLENTY = Limits(4, 64 * 1024 * MIB)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("tiny")
    return tiny_source(folder).compile(folder / "bundle")


def plan(bundle: Bundle, limits: Limits, **reader: object) -> MemoryPlan:
    return MemoryPlan.of(Config.model_validate({"reader": reader}), bundle, limits)


def limited(count: int, cores: int = 2) -> Limits:
    return Limits(cores, count, None, memory_limited=True)


def test_with_enough_memory_the_sizes_are_the_defaults(bundle: Bundle) -> None:
    found = plan(bundle, PLENTY)
    assert (found.threads, found.batch_tokens, found.cache_bytes) == (4, BATCH_TOKENS, PREFIX_CACHE_BYTES)
    assert found.problem is None


def test_the_prefix_cache_gets_what_is_left(bundle: Bundle) -> None:
    needed = plan(bundle, PLENTY).needed_bytes
    found = plan(bundle, limited(int((needed + 32 * MIB) / 0.9) + 1))
    assert found.batch_tokens == BATCH_TOKENS
    assert found.cache_bytes == pytest.approx(32 * MIB, abs=10)
    assert found.problem is None


def test_batches_get_small_before_the_reader_has_no_room(bundle: Bundle) -> None:
    whole = plan(bundle, PLENTY)
    found = plan(bundle, limited(whole.needed_bytes))
    assert found.batch_tokens == SMALL_BATCH_TOKENS
    assert found.needed_bytes < whole.needed_bytes


def test_a_limit_that_is_too_low_is_a_problem_in_words(bundle: Bundle) -> None:
    found = plan(bundle, limited(100 * MIB))
    assert found.cache_bytes == 0
    assert found.problem is not None
    assert found.problem.startswith("reading takes about ")
    assert "the limit of the container is 100 MiB: the kernel may end the process; raise the limit" in found.problem
    assert found.problem.endswith("or set reader.precision to fp32")
    assert "reader.precision" not in (plan(bundle, limited(100 * MIB), precision="fp32").problem or "reader.precision")
    assert "the memory of this machine is 100 MiB" in (plan(bundle, Limits(2, 100 * MIB)).problem or "")


def test_numbers_in_the_config_win(bundle: Bundle) -> None:
    found = plan(bundle, limited(100 * MIB), batch_tokens=1_024, prefix_cache_bytes=64 * MIB, threads=3)
    assert (found.threads, found.batch_tokens, found.cache_bytes) == (3, 1_024, 64 * MIB)
    assert found.problem is not None
    assert "or set reader.prefix_cache_bytes to 0" in found.problem
    assert plan(bundle, PLENTY, prefix_cache_bytes=0).cache_bytes == 0


def test_float32_alone_takes_less(bundle: Bundle) -> None:
    assert plan(bundle, PLENTY, precision="fp32").needed_bytes < plan(bundle, PLENTY).needed_bytes


def test_applying_it_changes_only_the_two_sizes(bundle: Bundle) -> None:
    config = Config.model_validate({"reader": {"threads": 1}})
    found = MemoryPlan.of(config, bundle, PLENTY).applied(config)
    sizes = {"batch_tokens": BATCH_TOKENS, "prefix_cache_bytes": PREFIX_CACHE_BYTES}
    assert found == config.changed(reader=config.reader.changed(**sizes))


def test_it_is_said_in_words(bundle: Bundle) -> None:
    said = str(plan(bundle, PLENTY))
    assert said.startswith("4 cores, 64 GiB of memory: 4 threads, batches of 512 tokens, prefix cache 128 MiB, about ")
    assert "no prefix cache" in str(plan(bundle, PLENTY, prefix_cache_bytes=0))
