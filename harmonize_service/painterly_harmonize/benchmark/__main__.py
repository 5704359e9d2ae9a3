"""``python -m painterly_harmonize.benchmark``."""

from __future__ import annotations

import sys

import click

from painterly_harmonize.benchmark.errors import INTERRUPTED, PRECONDITION


def _run() -> None:
    try:
        from painterly_harmonize.benchmark.command import main
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("painterly"):
            raise
        click.echo(f"painterly: module {missing.name} is missing; run: pip install 'painterly[harmonize]'", err=True)
        sys.exit(PRECONDITION)
    main()


if __name__ == "__main__":
    try:
        _run()
    except KeyboardInterrupt:
        # While the imports still ran.
        click.echo("painterly: interrupted", err=True)
        sys.exit(INTERRUPTED)
