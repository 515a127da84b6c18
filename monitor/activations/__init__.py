"""From text to feature activations: rendering, tokens, windows, batches, readers."""
