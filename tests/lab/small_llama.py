"""A random Llama of two blocks with a tokenizer of words, saved as a user's model folder would be."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

D_MODEL = 32
CONTEXT = 32
WORDS = [f"w{n}" for n in range(200)]
TEMPLATE = "{% for m in messages %}<start>{{ m['role'] }} {{ m['content'] }}<end>{% endfor %}"


def save_small_llama(folder: Path) -> Path:
    """Writes weights, config, tokenizer and chat template; begins no text by itself."""
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        hidden_size=D_MODEL,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=256,
        max_position_embeddings=128,
    )
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():  # so that blocks matter
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.mul_(8)
    model.save_pretrained(folder)
    vocabulary = ["<unk>", "<start>", "<end>", "user", "assistant", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<start>", "<end>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder
