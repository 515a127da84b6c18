"""Calls through a real LiteLLM; a child process runs this, and prints the answers that it got.

Arguments: the server's URL, the model, and the folder of LiteLLM's config, next to which its callback lies.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import litellm
from litellm.proxy.types_utils.utils import get_instance_fn

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def main(url: str, model: str, folder: str) -> None:
    """A whole answer, a streamed one, and a call that fails."""
    # as LiteLLM's proxy loads what its config names
    callback = get_instance_fn("latentwatch_callback.callback", str(Path(folder) / "config.yaml"))
    litellm.callbacks = [callback]
    call: dict[str, Any] = {"model": f"openai/{model}", "api_base": f"{url}/v1", "api_key": "sk-secret"}
    call |= {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 2, "num_retries": 0}
    answers = [litellm.completion(**call).choices[0].message.content, asyncio.run(streamed(call))]
    try:
        litellm.completion(**(call | {"model": "openai/unknown"}))
    except litellm.exceptions.BadRequestError:
        answers.append("")
    print(json.dumps(answers))  # noqa: T201


async def streamed(call: dict[str, Any]) -> str:
    """An async call with the headers that LiteLLM's proxy would pass on."""
    headers = {"x-tenant": "acme", "traceparent": TRACEPARENT, "authorization": "Bearer sk-secret"}
    asked = call | {"stream": True, "proxy_server_request": {"headers": headers}}
    pieces = [chunk.choices[0].delta.content or "" async for chunk in await litellm.acompletion(**asked)]
    # the callback runs in a task of this loop
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        done, _ = await asyncio.wait(others, timeout=2)
        if not done:
            break
    return "".join(pieces)


if __name__ == "__main__":
    main(*sys.argv[1:])
