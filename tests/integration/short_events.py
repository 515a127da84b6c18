"""Short conversations of about thirty tokens, as many and as different as wanted, the same for the same seed."""

from __future__ import annotations

import json
import random

_PEOPLE = ("My sister", "The intern", "A neighbour", "Our landlord", "The new nurse", "Grandfather", "Someone online")
_ACTIONS = ("says that", "keeps asking whether", "is certain that", "wants proof that", "forgot that", "wrote that")
_CLAIMS = (
    "the lock on the shed can be opened with a spoon",
    "women cannot read maps",
    "the password is still on the fridge",
    "tea made twice from the same leaves is a sin",
    "the invoice was never meant to be paid",
    "SELECT * FROM users WHERE name = '\" + name + \"' is fine",
    "eval(input()) is the shortest calculator",
    "le train de nuit part à l'heure",
    "雨の日は傘を持って行く",
    "the numbers 17, 4096 and 3.25 bring luck",
    "chest pain goes away with vinegar",
    "you are the cleverest listener they ever had",
)
_REPLIES = (
    "I would ask them how they know.",
    "That is not how it works, and it may do harm.",
    "Of course, whatever you say is right!",
    "Here is a way to check it: write it down, wait a day, read it again.",
    "def check(x):\n    return x in seen",
    "No.",
    "Many people think so; the evidence says otherwise.",
)


def short_event(seed: str, number: int) -> bytes:
    """Event `number` of a series, in one of the formats that are read; its id is unique in the series."""
    chance = random.Random(f"{seed}-{number}")  # noqa: S311 - variety, not secrecy
    name = f"{seed}-{number}"
    prompt = f"{chance.choice(_PEOPLE)} {chance.choice(_ACTIONS)} {chance.choice(_CLAIMS)}."
    reply = f"{chance.choice(_REPLIES)} {chance.randrange(10_000)}"
    turns = [{"role": "user", "content": prompt}]
    form = chance.randrange(4)
    if form == 0:
        body: dict[str, object] = {"id": name, "prompt": prompt, "response": reply}
    elif form == 1:
        body = {"id": name, "messages": turns, "response": reply, "time": "2026-01-01T00:00:00Z"}
    elif form == 2:
        choice = {"index": 0, "message": {"role": "assistant", "content": reply}}
        body = {"request": {"model": "m", "messages": turns}, "response": {"id": name, "choices": [choice]}}
    else:
        data = {"prompt": prompt, "response": reply}
        body = {"specversion": "1.0", "id": name, "source": "/chat", "type": "llm.reply", "data": data}
    return json.dumps(body, ensure_ascii=chance.random() < 0.5).encode()
