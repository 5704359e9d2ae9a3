"""``painterly weights``: the networks in this machine's weight store."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from painterly_client.cli import exits
from painterly_client.cli.exits import CommandFailed
from painterly_client.cli.options import INPUT_FILE, json_option, output_options
from painterly_client.cli.session import Session

if TYPE_CHECKING:
    from painterly.weights import FetchProgress, WeightStatus, WeightStore


@click.group(short_help="List, fetch and verify the networks' weights.")
def weights() -> None:
    """The networks' weights: fetched once, verified at every use.

    \b
    Examples:
      painterly weights list
      painterly weights fetch vgg16
      painterly weights fetch vgg19 --from ~/Downloads/vgg19.pth
    """


@contextlib.contextmanager
def _opened_store() -> Iterator[WeightStore]:
    # Imported here: the store brings along an HTTP client that no other command needs.
    from painterly.weights import UnknownWeights, WeightsCorrupt, WeightsError, WeightsMissing, WeightStore

    try:
        yield WeightStore()
    except UnknownWeights as error:
        raise CommandFailed(str(error), exits.BAD_INPUT, reason="UNKNOWN_WEIGHTS") from error
    except (WeightsMissing, WeightsCorrupt) as error:
        raise CommandFailed(str(error), exits.PRECONDITION, reason=type(error).__name__) from error
    except WeightsError as error:
        raise CommandFailed(str(error), reason=type(error).__name__) from error


@weights.command("list")
@json_option
@click.pass_context
def list_weights(ctx: click.Context) -> None:
    """List the networks and whether they are there."""
    with _opened_store() as store:
        statuses = [store.status(name) for name in store.names()]
    session = ctx.ensure_object(Session)
    if session.json_wanted:
        session.answer({"directory": store.directory, "weights": [_status_json(status) for status in statuses]})
        return
    click.echo(f"weight store: {store.directory}")
    for status in statuses:
        size = f"{status.size_bytes / 2**20:.1f} MiB" if status.size_bytes is not None else "-"
        click.echo(f"{status.name:<8} {status.state.value:<8} {size:>11}  {status.description} [{status.license}]")


@weights.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "fetch_all", is_flag=True, help="Fetch every network.")
@click.option("--from", "source", type=INPUT_FILE, metavar="FILE", help="Make the network of this file instead.")
@output_options
@click.pass_context
def fetch(ctx: click.Context, names: Sequence[str], fetch_all: bool, source: Path | None) -> None:
    """Fetch networks into the store; those that are there and whole stay as they are."""
    if bool(names) == fetch_all:
        raise click.UsageError("name the networks to fetch, or give --all", ctx)
    if source and len(names) != 1:
        raise click.UsageError("--from FILE fetches exactly one network; name it", ctx)
    session = ctx.ensure_object(Session)
    paths: dict[str, Path] = {}
    with _opened_store() as store:
        for name in store.names() if fetch_all else names:
            with _fetch_display(session) as display:
                paths[name] = store.fetch(name, source=source, on_progress=display)
            session.say(f"{name}: {paths[name]}")
    session.answer({"directory": store.directory, "fetched": paths})


@weights.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@json_option
@click.pass_context
def verify(ctx: click.Context, names: Sequence[str]) -> None:
    """Check stored networks byte for byte; exit code 1 when one is at fault.

    Without NAME, all that are in the store are checked. A named one that is missing is a fault.
    """
    with _opened_store() as store:
        statuses = [store.status(name) for name in names or store.names()]
    session = ctx.ensure_object(Session)
    faulty = [status for status in statuses if status.state.value == "corrupt" or (names and status.problem)]
    if session.json_wanted:
        session.answer({"ok": not faulty, "weights": [_status_json(status) for status in statuses]})
    else:
        for status in statuses:
            click.echo(f"{status.name}: {status.problem or f'{status.state.value}, {status.checksum}'}")
    if faulty:
        ctx.exit(1)


def _status_json(status: WeightStatus) -> dict[str, Any]:
    return {
        "name": status.name,
        "state": status.state.value,
        "path": status.path,
        "size_bytes": status.size_bytes,
        "checksum": status.checksum,
        "problem": status.problem,
        "license": status.license,
        "sources": list(status.sources),
        "obtained_from": status.obtained_from,
    }


class _FetchDisplay:
    """A download bar at a terminal; elsewhere a line whenever the fetch does something else."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._activity = ""
        self._bars: Progress | None = None
        if sys.stderr.isatty() and not session.quiet:
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            self._bars = Progress(*columns, console=Console(stderr=True))
            self._bars.start()
            self._task = self._bars.add_task("", total=None)

    def __call__(self, progress: FetchProgress) -> None:
        activity = " ".join(part for part in (progress.name, progress.phase.value, progress.source) if part)
        if self._bars:
            self._bars.update(
                self._task, description=activity, completed=progress.received_bytes, total=progress.total_bytes
            )
        elif activity != self._activity:
            self._session.say(activity)
        self._activity = activity

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._bars:
            self._bars.stop()


@contextlib.contextmanager
def _fetch_display(session: Session) -> Iterator[_FetchDisplay]:
    display = _FetchDisplay(session)
    try:
        yield display
    finally:
        display.stop()
