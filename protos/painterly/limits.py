"""Size limits that both ends of a call hold to.

gRPC's own receive limit of 4 MiB is too small for a painting; both services and the client raise it to the same value.
"""

from __future__ import annotations

MAX_MESSAGE_BYTES = 64 * 2**20
MAX_ENCODED_IMAGE_BYTES = 32 * 2**20
MAX_IMAGE_PIXELS = 50_000_000
MAX_IMAGE_SIDE_PX = 16_384
MIN_IMAGE_SIDE_PX = 16

_MESSAGE_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)


def server_options(
    *, keepalive_s: int, keepalive_timeout_s: int, min_ping_interval_s: int, connection_age_s: int
) -> tuple[tuple[str, int], ...]:
    """Options of a server: all in seconds; callers connect anew after ``connection_age_s``, 0 for never."""
    return (
        *_MESSAGE_OPTIONS,
        ("grpc.so_reuseport", 0),
        # No compressed messages: gRPC unpacks one wholly before it looks at its size, and some MiB may become many GiB.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        # Who connects and says nothing holds a descriptor for so long.
        ("grpc.server_handshake_timeout_ms", 10_000),
        *_keepalive(keepalive_s, keepalive_timeout_s),
        # Without it a caller that pings more often than every five minutes is cut off.
        ("grpc.http2.min_ping_interval_without_data_ms", min_ping_interval_s * 1000),
        # The age has no grace beside it: one that ends would cut streams.
        *((("grpc.max_connection_age_ms", connection_age_s * 1000),) if connection_age_s else ()),
    )


def _keepalive(silence_s: int, timeout_s: int) -> tuple[tuple[str, int], ...]:
    # The timeout option alone has no effect: the HTTP/2 ping timeout rules. All three together notice a dead peer.
    return (
        ("grpc.keepalive_time_ms", silence_s * 1000),
        ("grpc.keepalive_timeout_ms", timeout_s * 1000),
        ("grpc.http2.ping_timeout_ms", timeout_s * 1000),
    )


SERVER_OPTIONS = server_options(keepalive_s=30, keepalive_timeout_s=10, min_ping_interval_s=10, connection_age_s=0)

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    *_MESSAGE_OPTIONS,
    *_keepalive(20, 10),
    ("grpc.keepalive_permit_without_calls", 0),
)
