"""Registry: implementations by name, built in or from installed packages."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class RegistryError(ValueError):
    """A name that is not registered, or a plugin that can't be used; the text says what to do."""


class Registry(Generic[T]):
    """Finds implementations by name and imports only those that are asked for.

    Built-ins are written as entry points are, `module:attribute` or `module`. Packages add theirs in the entry-point
    group `group`; they can't replace a built-in.
    """

    def __init__(self, noun: str, group: str, built_in: Mapping[str, str], members: tuple[str, ...]) -> None:
        """`noun` is what messages call an implementation, `members` are the attributes that each must have."""
        self._noun = noun
        self._group = group
        self._built_in = {name: EntryPoint(name, value, group) for name, value in built_in.items()}
        self._members = members
        self._loaded: dict[str, T] = {}

    @property
    def built_in(self) -> tuple[str, ...]:
        """The names that need no other package, in the order in which they were registered."""
        return tuple(self._built_in)

    def names(self) -> tuple[str, ...]:
        """All names: the built-ins, then those of installed packages in alphabetical order."""
        installed = {entry.name for entry in entry_points(group=self._group)}
        return (*self._built_in, *sorted(installed - set(self._built_in)))

    def load(self, name: str) -> T:
        """The implementation called `name`. Raises RegistryError if there is none or it can't be used."""
        if name not in self._loaded:
            built_in = self._built_in.get(name)
            self._loaded[name] = cast("T", self._from_package(name) if built_in is None else built_in.load())
        return self._loaded[name]

    def _from_package(self, name: str) -> object:
        found = list(entry_points(group=self._group, name=name))
        if not found:
            raise RegistryError(f"no {self._noun} is called {name!r}; there are {', '.join(self.names())}")
        packages = ", ".join(sorted({_package(entry) for entry in found}))
        if len(found) > 1:
            raise RegistryError(f"the {self._noun} {name!r} is in several packages: {packages}; uninstall all but one")
        try:
            loaded = found[0].load()
        except Exception as e:  # a package may raise anything
            raise RegistryError(
                f"the {self._noun} {name!r} of package {packages} can't be imported: {type(e).__name__}: {e}"
            ) from e
        missing = [member for member in self._members if not hasattr(loaded, member)]
        if missing:
            raise RegistryError(
                f"the {self._noun} {name!r} of package {packages} has no {missing[0]}: "
                f"{found[0].value} is not a {self._noun}"
            )
        return cast("object", loaded)


def _package(entry: EntryPoint) -> str:
    return "unknown" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
