"""Begin-of-sequence tokens come once, and tokens without an embedding never reach the model."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from monitor.errors import ConfigError
from monitor.tokens.chat_template import ChatTemplate
from monitor.tokens.tokeniser import EventTokeniser
from tests.reader_model import event
from tests.tokens.templates import GEMMA

TOKENS = {"bos_token": "<bos>"}
WORDS = ["<bos>", "<start_of_turn>", "<end_of_turn>", "user", "model", "Hi", "Hello", "<image>"]


def tokeniser(source: str | None) -> EventTokeniser:
    """With a tokenizer that adds BOS itself, as those of Llama and Gemma do."""
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS[:-1])}, unk_token="user"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in (*WORDS[:3], "<image>")])
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    return EventTokeniser(tokenizer, ChatTemplate(source, TOKENS))


def words(made: EventTokeniser, *turns: str) -> list[str]:
    (item,) = made.tokenise([event("Hello", *turns)])
    return [WORDS[i] for i in item.ids]


def test_a_template_writes_bos_and_the_tokenizer_does_not_add_another() -> None:
    assert words(tokeniser(GEMMA), "Hi") == [
        "<bos>", "<start_of_turn>", "user", "Hi", "<end_of_turn>", "<start_of_turn>", "model", "Hello",
    ]  # fmt: skip


def test_plain_text_begins_with_bos() -> None:
    """Without a template, and also next to conversations that the template takes."""
    assert words(tokeniser(None), "Hi") == ["<bos>", "Hi", "Hello"]
    made = tokeniser(GEMMA)
    taken, refused = event("Hello", "Hi"), event("Hello", "Hi", "Hi")
    items = made.tokenise([taken, refused, taken])
    assert [item.fallback for item in items] == [False, True, False]
    assert [WORDS[i] for i in items[1].ids] == ["<bos>", "Hi", "Hi", "Hello"]
    assert items[0].ids.tolist() == items[2].ids.tolist() == made.tokenise([taken])[0].ids.tolist()
    assert items[1].rows[0].tolist() == [1]


def test_special_tokens_without_an_embedding_are_read_as_token_0() -> None:
    made = tokeniser(GEMMA)
    before = made.tokenise([event("Hello", "Hi <image> Hi")])[0]
    assert before.ids.max() == 7
    made.limit(7)
    item = made.tokenise([event("Hello", "Hi <image> Hi")])[0]
    assert item.ids[before.ids == 7].tolist() == [0]
    assert item.rows[0].tolist() == [3, 5]


def test_the_tokenizer_of_another_model() -> None:
    with pytest.raises(ConfigError, match=r"has 7 tokens, but the model has embeddings for 6; it is the tokenizer of"):
        tokeniser(GEMMA).limit(6)
