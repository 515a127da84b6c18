"""Sizes: how much a benchmark measures."""

from __future__ import annotations

from dataclasses import dataclass, replace

WORKLOADS = ("short", "long", "multi_turn")
BATCH_LENGTH = 128
"""Tokens per sequence on the curves, unless their number is the variable."""
_FEWEST_TOKENS = 256


@dataclass(frozen=True)
class Sizes:
    """Events, repetitions and points of the curves."""

    short_events: int
    long_events: int
    conversations: int
    turns: int
    """Turns per conversation; every turn is an event."""
    repetitions: int
    """Repetitions with the compiled readers."""
    slow_repetitions: int
    """Repetitions with the readers that run torch or llama.cpp."""
    slow_batches: int
    """Batches of `BATCH` events for the slow readers, spread over the workload."""
    single_events: int
    """Events to read one at a time for latency; slow readers read a quarter of them."""
    starts: int
    """Starts of a sidecar."""
    pipeline_rounds: int
    pipeline_events: int
    """Events per round."""
    scaling_repetitions: int
    scaling_tokens: int
    """Tokens per run, unless their number is the variable."""
    features: tuple[int, ...]
    widths: tuple[int, ...]
    lengths: tuple[int, ...]
    batches: tuple[int, ...]
    conversation_turns: int
    """Turns of the conversation whose cost is measured turn by turn."""

    def for_speed(self, tokens_per_s: float, curve_s: float) -> Sizes:
        """With fewer tokens per run and fewer turns, if a curve at that speed would take longer than `curve_s`."""
        runs = (self.scaling_repetitions + 1) * len(self.lengths)
        tokens = self.scaling_tokens
        while tokens > _FEWEST_TOKENS and runs * tokens > tokens_per_s * curve_s:
            tokens //= 2
        if tokens == self.scaling_tokens:
            return self
        return replace(
            self,
            scaling_tokens=tokens,
            lengths=tuple(n for n in self.lengths if n <= tokens),
            batches=tuple(n for n in self.batches if n * BATCH_LENGTH <= tokens),
            conversation_turns=max(2, self.conversation_turns * tokens // self.scaling_tokens),
        )


BATCH = 8
"""Events per batch in code that doesn't sort by length."""

QUICK = Sizes(
    short_events=24,
    long_events=2,
    conversations=2,
    turns=3,
    repetitions=4,
    slow_repetitions=1,
    slow_batches=1,
    single_events=6,
    starts=2,
    pipeline_rounds=2,
    pipeline_events=128,
    scaling_repetitions=2,
    scaling_tokens=1_024,
    features=(8, 4_096),
    widths=(8_192, 32_768),
    lengths=(64, 256, 1_024),
    batches=(1, 8, 32),
    conversation_turns=6,
)

FULL = Sizes(
    short_events=64,
    long_events=16,
    conversations=8,
    turns=6,
    repetitions=4,
    slow_repetitions=2,
    slow_batches=2,
    single_events=32,
    starts=5,
    pipeline_rounds=3,
    pipeline_events=256,
    scaling_repetitions=4,
    scaling_tokens=2_048,
    features=(8, 64, 512, 4_096),
    widths=(8_192, 16_384, 32_768, 65_536),
    lengths=(64, 128, 256, 512, 1_024, 2_048),
    batches=(1, 2, 4, 8, 16, 32),
    conversation_turns=12,
)

SIZING = replace(
    QUICK, short_events=8, long_events=2, repetitions=2, single_events=1, slow_repetitions=1, scaling_repetitions=1
)
"""For one reader's cost on this machine in a few seconds, once it has loaded."""
