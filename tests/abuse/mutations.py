"""A mutation fuzzer over serialized messages, which makes what no protobuf library would write, and over files."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Sequence

_VARINT, _FIXED64, _LENGTH, _GROUP, _END_GROUP, _FIXED32 = range(6)
_HUGE = (2**7, 2**14, 2**28, 2**31 - 1, 2**32, 2**63, 2**64 - 1)
_NOT_UTF8 = (b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80" * 9)

Mutation = Callable[[bytearray, random.Random], bytearray]


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def tag(number: int, wire_type: int) -> bytes:
    """A field's head."""
    return varint(number << 3 | wire_type)


def spans(data: bytes, begin: int = 0, end: int | None = None) -> list[tuple[int, int, int]]:
    """Fields of a message, also inside of short ones: where each begins, where its value begins, where it ends."""
    found: list[tuple[int, int, int]] = []
    place, end = begin, len(data) if end is None else end
    while place < end:
        head, after = _read_varint(data, place, end)
        kind = head & 7
        if kind == _VARINT:
            _, stop = _read_varint(data, after, end)
            value = after
        elif kind in (_FIXED64, _FIXED32):
            value, stop = after, after + (8 if kind == _FIXED64 else 4)
        elif kind == _LENGTH:
            length, value = _read_varint(data, after, end)
            stop = value + length
        else:
            break
        if stop > end or stop <= place:
            break
        found.append((place, value, stop))
        if kind == _LENGTH and stop - value < 200_000:
            found += spans(data, value, stop)[:64]
        place = stop
    return found


def _read_varint(data: bytes, place: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while place < end and shift < 70:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            break
    return value, place


def _flip_bits(data: bytearray, chance: random.Random) -> bytearray:
    for _ in range(chance.choice((1, 1, 2, 8, 40))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


def _flip_heads(data: bytearray, chance: random.Random) -> bytearray:
    """Flip bits in tags and lengths, where a flip changes how all that follows is read."""
    for _ in range(chance.randint(1, 3)):
        begin, value, _ = chance.choice(spans(bytes(data)) or [(0, 1, 1)])
        data[chance.randrange(begin, min(max(value, begin + 1), len(data)))] ^= 1 << chance.randrange(8)
    return data


def _set_bytes(data: bytearray, chance: random.Random) -> bytearray:
    place = chance.randrange(len(data))
    value = chance.choice((b"\0", b"\xff", b"\x7f", b"\x80", *_NOT_UTF8)) * chance.choice((1, 4, 16))
    data[place : place + len(value)] = value
    return data


def _truncate(data: bytearray, chance: random.Random) -> bytearray:
    return data[: chance.randrange(len(data))]


def _cut_out(data: bytearray, chance: random.Random) -> bytearray:
    begin = chance.randrange(len(data))
    del data[begin : begin + chance.choice((1, 2, 16, 512))]
    return data


def _insert(data: bytearray, chance: random.Random) -> bytearray:
    place = chance.randrange(len(data))
    data[place:place] = chance.randbytes(chance.choice((1, 2, 9, 300)))
    return data


def _duplicate_field(data: bytearray, chance: random.Random) -> bytearray:
    begin, _, end = chance.choice(spans(bytes(data)) or [(0, 0, len(data))])
    data[end:end] = data[begin:end] * chance.choice((1, 1, 2, 30))
    return data[:4_000_000]


def _move_field(data: bytearray, chance: random.Random) -> bytearray:
    """Put one field's bytes where another field was, at whatever depth."""
    found = spans(bytes(data)) or [(0, 0, len(data))]
    (begin, _, end), (place, _, stop) = chance.choice(found), chance.choice(found)
    data[place:stop] = data[begin:end]
    return data


def _renumber_field(data: bytearray, chance: random.Random) -> bytearray:
    begin, _, _ = chance.choice(spans(bytes(data)) or [(0, 1, 1)])
    data[begin : begin + 1] = tag(chance.choice((1, 2, 3, 4, 5, 6, 7, 8, 12, 15)), chance.randrange(8))
    return data


def _huge_length(data: bytearray, chance: random.Random) -> bytearray:
    begin, value, _ = chance.choice(spans(bytes(data)) or [(0, 1, 1)])
    data[begin + 1 : max(value, begin + 1)] = varint(chance.choice(_HUGE))
    return data


def _append_field(data: bytearray, chance: random.Random) -> bytearray:
    """Append a known or unknown field of any wire type."""
    kind = chance.randrange(8)
    number = chance.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 19_000, 2**29 - 1, 2**29))
    value = {
        _VARINT: varint(chance.choice(_HUGE)),
        _FIXED64: chance.choice((b"\0\0\0\0\0\0\xf8\x7f", b"\0\0\0\0\0\0\xf0\x7f", b"\0\0\0\0\0\0\xf0\xff", bytes(8))),
        _LENGTH: varint(40) + chance.choice(_NOT_UTF8) + bytes(38),
        _FIXED32: bytes(4),
    }.get(kind, b"")
    return data + tag(number, kind) + value


def _overlong_varint(data: bytearray, chance: random.Random) -> bytearray:
    return data + b"\x80" * chance.choice((8, 9, 10, 11, 40)) + chance.choice((b"\0", b"\1", b""))


def _nest(data: bytearray, chance: random.Random) -> bytearray:
    """Messages in messages, deeper than any reader goes; or groups, which nobody uses any more."""
    depth, number = chance.choice((3, 99, 101, 5000)), chance.choice((1, 2, 3, 5, 99))
    if chance.random() < 0.5:
        return data + tag(number, _GROUP) * depth + tag(number, _END_GROUP) * chance.choice((0, depth))
    inner = b""
    for _ in range(min(depth, 300)):
        inner = tag(number, _LENGTH) + varint(len(inner)) + inner
    return data + inner


def _rubbish(data: bytearray, chance: random.Random) -> bytearray:
    return bytearray(chance.randbytes(chance.choice((1, 8, 200, 5000))))


MUTATIONS: Sequence[Mutation] = (
    _flip_bits,
    _flip_heads,
    _flip_heads,
    _set_bytes,
    _truncate,
    _cut_out,
    _insert,
    _duplicate_field,
    _move_field,
    _renumber_field,
    _huge_length,
    _append_field,
    _overlong_varint,
    _nest,
    _rubbish,
)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The message after one to three mutations."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        changed = chance.choice(MUTATIONS)(changed or bytearray(1), chance)
    return bytes(changed)


def mutated_file(data: bytes, chance: random.Random) -> bytes:
    """An image file after one to three mutations; of PNG often with the checksums made right again."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        mutation = chance.choice((_flip_bits, _set_bytes, _truncate, _cut_out, _insert))
        # What decides how the rest is read stands in front.
        head = changed[: chance.choice((64, 256, 2048, len(changed)))] or bytearray(1)
        changed[: len(head)] = mutation(head, chance)
    is_png = changed.startswith(b"\x89PNG\r\n\x1a\n")
    return _with_checksums(bytes(changed)) if is_png and chance.random() < 0.8 else bytes(changed)


def _with_checksums(data: bytes) -> bytes:
    out, place = bytearray(data[:8]), 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunk = data[place + 4 : place + 8 + length]
        out += data[place : place + 4] + chunk + struct.pack(">I", zlib.crc32(chunk))
        place += length + 12
    return bytes(out)
