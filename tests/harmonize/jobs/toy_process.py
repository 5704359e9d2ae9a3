"""The real server with the real worker process over the toy network: ``python -m tests.harmonize.jobs.toy_process``.

Its arguments are settings as ``name=value``. ``TOY_PACE_S`` in the environment is how much longer a run of the network
takes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import torch

from painterly.configuration.fields import settings_of
from painterly_harmonize.networks import Networks
from painterly_harmonize.settings import Settings


def networks(settings: Settings, device: torch.device) -> Networks:
    """The toy network under every name."""
    from tests.harmonize.toy import networks_of, toy_network

    pace_s = float(os.environ.get("TOY_PACE_S", "0"))

    return networks_of(toy_network(device=device, delay_s=pace_s))


def main() -> None:
    """Serve, or work, by the settings given."""
    from painterly_harmonize.server import serve
    from painterly_harmonize.worker_process import work

    given = dict(each.split("=", 1) for each in sys.argv[1:])
    settings = Settings(**{name: settings_of(Settings)[name].parse(value) for name, value in given.items()})
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    make = "tests.harmonize.jobs.toy_process:networks"
    if settings.role == "worker":
        work(settings, Path(settings.data_folder), networks=make)
    else:
        asyncio.run(serve(settings, networks=make))


if __name__ == "__main__":
    main()
