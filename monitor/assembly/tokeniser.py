"""The tokeniser of a model, with the chat template that the config names."""

from __future__ import annotations

from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.model.files import ModelFiles
from monitor.tokens.chat_template import ChatTemplate
from monitor.tokens.tokeniser import EventTokeniser


def build_tokeniser(config: Config, model: ModelFiles) -> EventTokeniser:
    """The tokeniser of the model, with the chat template that the config names."""
    return EventTokeniser.load(model.tokenizer_file, build_template(config, model))


def build_template(config: Config, model: ModelFiles) -> ChatTemplate:
    """The chat template that the config names, or else the model's own."""
    template_file = config.reader.chat_template
    try:
        source = model.chat_template() if template_file is None else template_file.read_text()
    except OSError as e:
        raise ConfigError(f"reader.chat_template: {template_file}: cannot be read: {e.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"reader.chat_template: {template_file}: not UTF-8 text") from None
    return ChatTemplate(source, model.special_tokens())
