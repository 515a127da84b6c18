"""SAE files: one module for each layout."""
