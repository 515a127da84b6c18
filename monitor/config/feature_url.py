"""FeatureUrl: the address of a feature's card, from a template."""

from __future__ import annotations

from string import Formatter
from urllib.parse import quote, urlsplit

from detectors.feature_set import FeatureSet

FIELDS = ("set", "version", "index", "model", "layer", "sae_sha256")


class FeatureUrl:
    """A URL with fields such as {set} and {index}."""

    def __init__(self, template: str) -> None:
        """Raises ValueError if it is not an http or https URL, or has a field that is not one of FIELDS."""
        try:
            parts = list(Formatter().parse(template))
        except ValueError as e:
            raise ValueError(f"not a template: {e}; write {{{{ for a brace") from None
        fields = [name for _, name, _, _ in parts if name is not None]
        if any(name not in FIELDS for name in fields) or any(form or how for _, _, form, how in parts):
            raise ValueError(f"the only fields are {', '.join('{' + name + '}' for name in FIELDS)}")
        if "index" not in fields:
            raise ValueError("needs {index}, so that every feature has an address of its own")
        url = urlsplit(template)
        if url.scheme not in ("http", "https") or not url.hostname or "{" in url.netloc:
            raise ValueError("must begin with http:// or https:// and a host name")
        self._template = template

    def of(self, used: FeatureSet, index: int) -> str:
        """The address of the card of one feature of a set."""
        values = {
            "set": used.id,
            "version": used.version,
            "index": str(index),
            "model": used.reader.model,
            "layer": str(used.reader.layer),
            "sae_sha256": used.reader.sae.sha256,
        }
        return self._template.format_map({name: quote(value, safe="") for name, value in values.items()})


def checked_template(template: str | None) -> str | None:
    """The template as it is. Raises ValueError if FeatureUrl can't use it."""
    if template is not None:
        FeatureUrl(template)
    return template
