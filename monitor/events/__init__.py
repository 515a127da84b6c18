"""Events: what a producer writes, parsed."""
