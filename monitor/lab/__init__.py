"""The offline workbench: from labelled rows to a feature set with measured figures. The runtime never imports it."""
