"""MappingConfig: where a producer's own records hold what people and models said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from monitor.config.section import Section

if TYPE_CHECKING:
    from monitor.events.formats.mapping import MappingFormat

MAX_PLACES = 16
"""Most paths of one key, and most attributes."""
_SAID = ("messages", "prompt", "response")


def _as_list(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        raise ValueError("write a path, or a list of paths")  # noqa: TRY004 - pydantic reports ValueError
    return value


def _checked_places(places: tuple[str, ...]) -> tuple[str, ...]:
    # the library that evaluates paths is loaded only if there are any
    from monitor.events.placed_values import place

    for text in places:
        place(text)
    return places


def _checked_paths(decode: dict[str, str]) -> dict[str, str]:
    if decode:
        from monitor.events.json_path import JsonPath

        for text in decode:
            JsonPath(text)
    return decode


ONE_OR_MORE = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
Places = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_list),
    Field(max_length=MAX_PLACES),
    AfterValidator(_checked_places),
    ONE_OR_MORE,
]
Role = Literal["system", "user", "assistant", "tool"]
_Required = Literal["messages", "system", "prompt", "response", "id", "time", "model", "tenant", "traceparent"]


class MappingConfig(Section):
    """Where records of no known format hold what was said. Values are JSON paths (`$.a.b`) or `header:NAME`."""

    messages: Places = ()
    """The turns before the response: lists of messages, single messages, or request bodies of any API."""
    role: Places = ()
    """Who speaks, as a path in each message; needed only if messages have their own names for it."""
    content: Places = ()
    """What a message says, as a path in each message; needed only if messages have their own names for it."""
    roles: dict[str, Role] = Field(default_factory=dict)
    """What the producer's own names of roles mean, by name in lower case: system, user, assistant or tool."""
    system: Places = ()
    """A system prompt that stands outside of the messages."""
    prompt: Places = ()
    """What the user says, as text or parts; comes after `messages`."""
    response: Places = ()
    """What the model answered: text, a message, parts, or what any API returned. Each value of a path is an answer."""
    id: Places = ()
    """The event's id; without one, that of the envelope or topic-partition-offset."""
    time: Places = ()
    """When it was said."""
    model: Places = ()
    """The model that answered."""
    tenant: Places = ()
    """Whose traffic it is; becomes the attribute `tenant`."""
    traceparent: Places = ()
    """W3C trace context of the request, if it stands in the body."""
    attributes: Annotated[dict[str, Places], Field(max_length=MAX_PLACES)] = Field(default_factory=dict)
    """Further attributes of the event, by name, such as `conversation_id`."""
    decode: Annotated[dict[str, Literal["json"]], Field(max_length=MAX_PLACES), AfterValidator(_checked_paths)] = Field(
        default_factory=dict
    )
    """Paths to text of JSON that is decoded first, in this order, each with the value `json`."""
    required: tuple[_Required, ...] = ()
    """Keys that must find something in every record. Of `messages` and `prompt`, one must in any case."""

    @property
    def is_set(self) -> bool:
        """Whether there is a mapping."""
        return any(getattr(self, key) for key in type(self).model_fields)

    @model_validator(mode="after")
    def _complete(self) -> MappingConfig:
        if not self.is_set:
            return self
        if not any(getattr(self, key) for key in _SAID):
            raise ValueError(f"a mapping needs {' or '.join(_SAID)}: otherwise there is nothing to judge")
        if (self.role or self.content or self.roles) and not self.messages:
            raise ValueError("role, content and roles are about the messages: messages is missing")
        for key in self.required:
            if not getattr(self, key):
                raise ValueError(f"required: {key} has no path")
        for name in self.roles:
            if name != name.strip().lower():
                raise ValueError(f"roles: {name}: write it in lower case; records may have it in any case")
        return self

    def event_format(self) -> MappingFormat:
        """The format that reads with these paths, compiled."""
        from monitor.events.formats.mapping import MappingFormat
        from monitor.events.json_path import JsonPath
        from monitor.events.placed_values import place

        names = ("messages", "content", "system", "prompt", "response", "id", "time", "model", "tenant", "traceparent")
        role = self.role or (("$.role",) if self.roles else ())
        return MappingFormat(
            **{name: tuple(map(place, getattr(self, name))) for name in names},
            role=tuple(map(place, role)),
            roles=self.roles,
            attributes={name: tuple(map(place, texts)) for name, texts in self.attributes.items()},
            decode=tuple(map(JsonPath, self.decode)),
            required=self.required,
        )
