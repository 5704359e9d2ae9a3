"""``python -m tests.abuse --requests 20000``: malformed and hostile requests against both services, and a table."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from tests.abuse.campaign import Account, run
from tests.abuse.servers import serving


@click.command()
@click.option("--requests", "request_count", default=20_000, show_default=True, help="For both services together.")
@click.option("--seed", default=0, show_default=True, help="The same seed sends the same requests.")
@click.option("--service", type=click.Choice(["both", "preprocess", "harmonize"]), default="both", show_default=True)
@click.option("--failures", type=click.Path(path_type=Path), help="Folder for requests that were answered badly.")
def main(request_count: int, seed: int, service: str, failures: Path | None) -> None:
    """Abuse the services and print what they answered. Exits with 1 when something was wrong."""
    logging.basicConfig(level="INFO", format="%(message)s")
    names = ["preprocess", "harmonize"] if service == "both" else [service]
    accounts = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        for name in names:
            running = stack.enter_context(serving(name, Path(folder)))
            accounts.append(run(running, request_count // len(names), seed, failures))
    print(report(accounts))
    faults = Counter(fault for account in accounts for fault in account.faults)
    for fault, count in faults.most_common(40):
        print(f"{count:6d} x {fault}", file=sys.stderr)
    sys.exit(1 if faults else 0)


def report(accounts: Sequence[Account]) -> str:
    """The tables of codes and of resources, as Markdown."""
    names = [account.service for account in accounts]
    lines = [f"| code | reason | {' | '.join(names)} |", f"|---|---|{'---:|' * len(names)}"]
    for code, reason in sorted({key for account in accounts for key in account.codes}):
        counts = (f"{account.codes[code, reason]:,}" for account in accounts)
        lines.append(f"| {code} | {reason or '-'} | {' | '.join(counts)} |")
    totals = (f"{account.request_count:,}" for account in accounts)
    lines += [f"| all | | {' | '.join(totals)} |", ""]
    lines += ["| service | faults | s | memory, MiB | descriptors | threads |", "|---|---:|---:|---|---|---|"]
    for account in accounts:
        kept = [account.samples[index * (len(account.samples) - 1) // 4] for index in range(5)]
        columns = (
            ", ".join(str(each.rss_bytes >> 20) for each in kept),
            ", ".join(str(each.descriptor_count) for each in kept),
            ", ".join(str(each.thread_count) for each in kept),
        )
        lines.append(f"| {account.service} | {len(account.faults)} | {account.seconds:.0f} | {' | '.join(columns)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
