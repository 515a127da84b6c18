"""APIs of language models: what their responses look like, one module each."""
