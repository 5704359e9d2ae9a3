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

# The timeout option alone has no effect: the HTTP/2 ping timeout rules. All three together notice a dead peer.
SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    *_MESSAGE_OPTIONS,
    # No compressed messages: gRPC unpacks one wholly before it looks at its size, and a few MiB unpack to many GiB.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    # Who connects and says nothing holds a descriptor for so long.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    *_MESSAGE_OPTIONS,
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
)
