"""Requests for the abuse tests, as bytes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.abuse import pictures
from tests.abuse.calls import Call, calls, valid
from tests.abuse.mutations import mutated, mutated_file
from tests.abuse.strategies import paths, put, requests


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request as bytes. ``origin`` says how it was made: by ``fields``, ``bytes`` or ``files``."""

    call: Call
    data: bytes
    origin: str


def cases(service: str, count: int, start: int) -> Sequence[Case]:
    """So many cases, about half made by fields, the rest by bytes and by files; the same for the same ``start``."""
    made = _by_fields(service, (count + 1) // 2, start)
    chance = random.Random(start)
    corpus = [(call, message.SerializeToString()) for call in calls(service) for message in valid(call)]
    corpus += [(case.call, case.data) for case in made[: len(made) // 4]]
    while len(made) < count:
        if chance.random() < 0.6:
            call, data = chance.choice(corpus)
            made.append(Case(call=call, data=mutated(data, chance), origin="bytes"))
        else:
            made.append(_by_file(chance.choice(calls(service)), chance))
    chance.shuffle(made)
    return made[:count]


def _by_fields(service: str, count: int, start: int) -> list[Case]:
    made: list[Case] = []

    @seed(start)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests(calls(service)))
    def collect(drawn: tuple[Call, Message]) -> None:
        made.append(Case(call=drawn[0], data=drawn[1].SerializeToString(), origin="fields"))

    collect()
    return made


def _by_file(call: Call, chance: random.Random) -> Case:
    """A valid request of which one picture, or all, is another file or a file with faults."""
    message = call.request()
    message.CopyFrom(chance.choice(valid(call)))
    files = [path for path in paths(call.request.DESCRIPTOR) if path[-1].type == FieldDescriptor.TYPE_BYTES]
    pool = list({**pictures.honest(), **pictures.unusual(), **pictures.hostile()}.values())
    if files:
        data = chance.choice(pool)
        if chance.random() < 0.8:
            data = mutated_file(data, chance)
        for path in files if chance.random() < 0.2 else [chance.choice(files)]:
            put(message, path, data)
    return Case(call=call, data=message.SerializeToString(), origin="files")
