"""The real harmonize service over a toy network, as a program: listens on a free port until standard input ends."""

from __future__ import annotations

import asyncio
import json
import logging
import sys

import torch

from tests.harmonize.toy import running


async def _serve() -> None:
    async with running(queue_size=32) as made:
        line = {"event": "listening", "service": "harmonize", "host": "127.0.0.1", "port": made.server.port}
        print(json.dumps(line), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """Serve."""
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    asyncio.run(_serve())


if __name__ == "__main__":
    main()
