"""Chat templates in the styles of well-known models."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

# a system message of its own where the conversation has none
CHATML = """\
{% for message in messages %}{% if loop.first and message['role'] != 'system' %}\
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}\
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

# begins with the begin-of-sequence token and a date, strips every turn
LLAMA = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%Y") %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

# refuses system turns and turns that do not alternate, calls the assistant "model", strips every turn
GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}\
{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}\
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"""

# turns side by side, as in the earliest instruction models
INST = """\
{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}\
{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}\
{{ message['content'] + eos_token }}{% endif %}{% endfor %}"""

# refuses system turns, and shows only the last line of a turn
STRICT = """\
{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}\
<{{ m.role }}>{{ m.content.split('\\n')[-1] }}{% endfor %}"""

# knows tools, counts turns in a namespace, and writes the year
TOOLS = """\
{{- bos_token }}[{{ strftime_now('%Y') }}] {% set ns = namespace(seen=0) %}
{%- if tools is not none and tools %}{{ tools | tojson(indent=2) }}{% endif %}
{%- for m in messages %}
    {%- set ns.seen = ns.seen + 1 %}
    {%- if m.role == 'tool' %}
        {{- '<result>' + m.content + '</result>' }}
    {%- elif m.tool_calls %}
        {{- raise_exception('no calls here') }}
    {%- else %}
        {{- '<' + m.role + '>' + m.content }}
    {%- endif %}
{%- endfor %}
{%- if ns.seen != messages | length %}{{ raise_exception('lost one') }}{% endif %}"""

# shows only the last turn
DROPS_TURNS = "{{ messages[-1]['role'] }}: {{ messages[-1]['content'] }}"
# shows a turn twice
REPEATS_TURNS = "{% for m in messages %}{{ m['content'] }}|{{ m['content'] }}{% endfor %}"
# skips what it does not know
SKIPS_TOOLS = (
    "{% for m in messages %}{% if m.role == 'tool' %}{% continue %}{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}"
)


def directly(source: str, messages: list[dict[str, str]]) -> str:
    """What jinja makes of a conversation."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals["strftime_now"] = lambda fmt: datetime.now().strftime(fmt)
    values: dict[str, Any] = {**TOKENS, "messages": messages, "add_generation_prompt": False}
    return environment.from_string(source).render(**values)
