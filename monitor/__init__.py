"""latentwatch: flags risky feature activations inside a language model, from production traffic."""

__version__ = "0.1.0"
