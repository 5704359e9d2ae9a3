"""``painterly config``: what the services' settings are and where each comes from."""

from __future__ import annotations

import json
import subprocess
import sys

import click

from painterly_client._embedded import MODULES
from painterly_client.cli.exits import CommandFailed
from painterly_client.cli.options import output_options
from painterly_client.cli.session import Session


@click.group(short_help="Look at the services' settings.")
def config() -> None:
    """The services' settings, from options, environment variables and a file.

    \b
    Examples:
      painterly config show
      painterly config show harmonize --config painterly.toml --threads 4
    """


@config.command(context_settings={"ignore_unknown_options": True})
@click.argument("service", required=False, type=click.Choice(list(MODULES)))
@click.argument("more", nargs=-1, type=click.UNPROCESSED, metavar="[SERVICE OPTIONS]...")
@output_options
@click.pass_context
def show(ctx: click.Context, service: str | None, more: tuple[str, ...]) -> None:
    """Print the settings that a service would start with here and now, and where each comes from.

    Flags go before environment variables, those before the file of --config (or PAINTERLY_CONFIG), that before
    defaults. Options of a service need its name before them. What is printed without --json is such a file. Secrets
    are not printed.
    """
    session = ctx.ensure_object(Session)
    shown: dict[str, object] = {}
    for name in [service] if service else list(MODULES):
        form = "json" if session.json_wanted else "text"
        command = [sys.executable, "-m", MODULES[name], f"--show-config={form}", *more]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise CommandFailed(f"the {name} service would not start with these settings")
        if session.json_wanted:
            shown[name] = json.loads(done.stdout)["settings"]
        else:
            click.echo(done.stdout)
    session.answer(shown)
