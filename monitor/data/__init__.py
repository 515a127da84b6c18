"""Files that ship with latentwatch."""
