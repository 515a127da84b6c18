"""Pure matching: feature activations in, matches out. Needs only numpy and pydantic."""
