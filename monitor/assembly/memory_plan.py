"""MemoryPlan: what a compiled reader takes of the memory and the cores that this process may use."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.config.sections import BATCH_TOKENS, PREFIX_CACHE_BYTES, Config
from monitor.machine import Limits
from monitor.readers.onnx.bundle import GRAPHS, Bundle
from monitor.readers.onnx.embeddings import EmbeddingTable
from monitor.readers.onnx.prefix_cache import BLOCK_TOKENS

PROCESS_BYTES = 320_000_000
"""The interpreter, libraries, and what waits in the Kafka client."""
USED_AT_MOST = 0.9
"""The share of the limit that is planned for; the rest is for what no plan knows."""
SMALL_BATCH_TOKENS = 128
"""A batch if memory is short."""
_COPIES = 3
"""Of attention's scores and of the latents in float32, while a batch is read."""


@dataclass(frozen=True)
class MemoryPlan:
    """The estimated memory of a reader, and the sizes that follow from the limit if the config does not set them."""

    limits: Limits
    threads: int
    batch_tokens: int
    cache_bytes: int
    readers: int
    """2 if events are read in int8 and, near thresholds, in fp32 again."""
    needed_bytes: int
    """Without the prefix cache; an estimate of what a long event takes at most."""

    @classmethod
    def of(cls, config: Config, bundle: Bundle, limits: Limits) -> MemoryPlan:
        """The plan for reading with `bundle`. What the config sets stays as it is."""
        reader, budget = config.reader, limits.memory_bytes * USED_AT_MOST
        asked = reader.prefix_cache_bytes or 0
        batch = reader.batch_tokens or BATCH_TOKENS
        if reader.batch_tokens is None and _needed_bytes(config, bundle, batch) + asked > budget:
            batch = SMALL_BATCH_TOKENS
        needed = _needed_bytes(config, bundle, batch)
        cache = reader.prefix_cache_bytes
        if cache is None:
            left = min(PREFIX_CACHE_BYTES, int(budget - needed))
            cache = left if left >= BLOCK_TOKENS * bundle.manifest.shape().token_bytes else 0
        return cls(limits, reader.threads or limits.cores, batch, cache, _readers(config), needed)

    def applied(self, config: Config) -> Config:
        """`config` with the sizes of this plan."""
        sizes = {"batch_tokens": self.batch_tokens, "prefix_cache_bytes": self.cache_bytes}
        return config.changed(reader=config.reader.changed(**sizes))

    @property
    def problem(self) -> str | None:
        """What is wrong if the limit is too low, and what helps."""
        total = self.needed_bytes + self.cache_bytes
        if total <= self.limits.memory_bytes:
            return None
        limit = "the limit of the container" if self.limits.memory_limited else "the memory of this machine"
        helps = ["raise the limit", "lower reader.window_tokens"]
        if self.cache_bytes:
            helps.append("set reader.prefix_cache_bytes to 0")
        if self.readers > 1:
            helps.append("set reader.precision to fp32")
        return (
            f"reading takes about {_mib(total)} of memory, and {limit} is {_mib(self.limits.memory_bytes)}: the kernel "
            f"may end the process; {', or '.join(helps)}"
        )

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        cache = f"prefix cache {_mib(self.cache_bytes)}" if self.cache_bytes else "no prefix cache"
        total = _mib(self.needed_bytes + self.cache_bytes)
        return f"{self.limits}: {threads}, batches of {self.batch_tokens} tokens, {cache}, about {total} in all"


def _needed_bytes(config: Config, bundle: Bundle, batch_tokens: int) -> int:
    """The process, the weights, the rows of the embeddings, and each reader's work: a batch over a whole window."""
    shape = bundle.manifest.shape()
    readers = _readers(config)
    weights = 0
    for path in bundle.folder.iterdir():
        name, size = path.name, path.stat().st_size
        if name.startswith(GRAPHS["fp32"]) or (name.startswith(GRAPHS["int8"]) and readers == 2):
            weights += 2 * size  # the file, which is mapped, and the same weights packed
        elif not name.startswith(GRAPHS["int8"]):
            weights += size
    embeddings = 4 * EmbeddingTable.load(bundle.folder).values.size
    window = min(config.reader.window_tokens, shape.max_tokens)
    keys_values = 2 * (window + batch_tokens) * shape.token_bytes
    scores = _COPIES * 4 * batch_tokens * (window + batch_tokens) * shape.heads.query
    encoded = _COPIES * 4 * batch_tokens * sum(sae.width for sae in bundle.manifest.saes)
    return PROCESS_BYTES + weights + embeddings + readers * (keys_values + scores + encoded)


def _readers(config: Config) -> int:
    return 1 if config.reader.precision == "fp32" else 2


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
