"""The tokeniser of a model, with the chat template that the config names."""

from __future__ import annotations

from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.model.files import ModelFiles
from monitor.model.text_file import read_text
from monitor.tokens.chat_template import ChatTemplate
from monitor.tokens.tokeniser import EventTokeniser


def build_tokeniser(config: Config, model: ModelFiles) -> EventTokeniser:
    """The tokeniser of the model, with the chat template that the config names."""
    return EventTokeniser.load(model.tokenizer_file, build_template(config, model))


def build_template(config: Config, model: ModelFiles) -> ChatTemplate:
    """The chat template that the config names, or else the model's own."""
    template_file = config.reader.chat_template
    if template_file is None:
        return ChatTemplate(model.chat_template(), model.special_tokens())
    try:
        source = read_text(template_file)
    except ConfigError as e:
        raise ConfigError(f"reader.chat_template: {e}") from None
    return ChatTemplate(source, model.special_tokens())
