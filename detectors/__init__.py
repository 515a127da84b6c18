"""Pure matching: feature activations in, matches out. Needs numpy and pydantic alone."""
