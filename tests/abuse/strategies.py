"""Hypothesis strategies over every field of every request, walked from the descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

from tests.abuse import pictures
from tests.abuse.calls import Call, valid

INT32, INT64 = 2**31, 2**63
_EDGES = (0, 1, -1, 2, 7, 16, 63, 64, 255, 256, 1000, 1023, 1024, 10_000, 10_001, 16_384, 65_536, INT32 - 1, -INT32)
_REALS = (0.0, -0.0, 1.0, -1.0, 0.01, 0.5, 4.0, 100.0, 65_536.0, 5e-324, 1e-9, 1e18, 1.8e308, -1.8e308)
_NOT_FINITE = (float("nan"), float("inf"), float("-inf"))
STRINGS = (
    "",
    " ",
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/dev/zero",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data/",
    "~/.ssh/id_rsa",
    "a" * 70_000,
    "\0",
    pictures.LOG_LINE,
    '"}\n{"level": "CRITICAL", "event": "INJECTED"}',
    "%s%n%x{0}{1.__class__}",
    "${jndi:ldap://127.0.0.1/a}",
    "$(reboot)`reboot`",
    "'; DROP TABLE jobs; --",
    "\u202e\ufeff\U0001f5bc\ud7ff",
    "..",
    ".",
    "CON",
)
_INTEGERS = {FieldDescriptor.TYPE_INT32: INT32, FieldDescriptor.TYPE_INT64: INT64}


@cache
def _pictures() -> st.SearchStrategy[bytes]:
    """Mostly pictures that fit together, so that a request comes to what lies behind its pictures."""
    rare = list(pictures.unusual().values())
    hostile = list(pictures.hostile().values())
    return st.one_of(st.sampled_from(list(pictures.honest().values())), st.sampled_from(rare), st.sampled_from(hostile))


@cache
def _values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Values for a field that is no message."""
    if field.type in _INTEGERS:
        limit = _INTEGERS[field.type]
        return st.sampled_from(_EDGES) | st.integers(-limit, limit - 1) | st.integers(1, 100)
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return st.sampled_from(_REALS + _NOT_FINITE) | st.floats() | st.floats(0, 1)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_ENUM:
        assert field.enum_type is not None
        known = [value.number for value in field.enum_type.values]
        return st.sampled_from([*known, *known, -1, 99, INT32 - 1, -INT32])
    if field.type == FieldDescriptor.TYPE_STRING:
        return st.sampled_from(STRINGS) | st.text(max_size=200)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _pictures() | st.binary(max_size=64)
    raise NotImplementedError(f"no strategy for {field.full_name}; add one")


@cache
def paths(descriptor: Descriptor) -> Sequence[tuple[FieldDescriptor, ...]]:
    """The way to every field that is no message, through the messages that hold it."""
    found: list[tuple[FieldDescriptor, ...]] = []
    for field in descriptor.fields:
        if field.message_type is None:
            found.append((field,))
        else:
            found += [(field, *rest) for rest in paths(field.message_type)]
    return found


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def put(message: Message, path: Sequence[FieldDescriptor], value: Any) -> None:
    """Set the field at the end of a path; of a repeated field, its first and only element. Maps are of texts."""
    field, *rest = path
    if field.is_repeated:
        elements = getattr(message, field.name)
        if field.message_type is None:
            elements[:] = [value]
        elif _is_map(field):
            name, content = (value, "value") if rest[0].name == "key" else ("key", value)
            elements[name] = content
        else:
            put(elements[0] if elements else elements.add(), rest, value)
    elif rest:
        inner = getattr(message, field.name)
        inner.SetInParent()
        put(inner, rest, value)
    else:
        setattr(message, field.name, value)


@st.composite
def requests(draw: st.DrawFn, calls: Sequence[Call]) -> tuple[Call, Message]:
    """A valid request with some fields put wrong, cleared, or copied many times; now and then one made from nothing."""
    call = draw(st.sampled_from(calls))
    message = call.request()
    everything = paths(call.request.DESCRIPTOR)
    if not everything:
        return call, message
    count = draw(st.sampled_from((1, 1, 2, 4)))
    if draw(st.integers(0, 9)):
        message.CopyFrom(draw(st.sampled_from(list(valid(call)))))
    else:
        count *= 4
    for _ in range(count):
        path = draw(st.sampled_from(everything))
        put(message, path, draw(_values(path[-1])))
    if draw(st.integers(0, 9)) == 0:
        _clear_or_multiply(message, draw(st.sampled_from(everything))[0], draw(st.integers(0, 64)))
    return call, message


def _clear_or_multiply(message: Message, field: FieldDescriptor, count: int) -> None:
    elements = getattr(message, field.name)
    if _is_map(field):
        elements.update({str(number): "value" for number in range(count)})
    elif field.is_repeated and field.message_type is not None and len(elements):
        for _ in range(count):
            elements.add().CopyFrom(elements[0])
    else:
        message.ClearField(field.name)
