"""The group of all commands, and what happens when one of them fails."""

from __future__ import annotations

from typing import Any

import click

from painterly_client.cli import (
    benching,
    composing,
    configuring,
    dilating,
    evaluating,
    exits,
    harmonizing,
    health,
    jobs,
    planning,
    preparing,
    preprocessing,
    replaying,
    resuming,
    serving,
    weighting,
)
from painterly_client.cli.session import Session

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class _Group(click.Group):
    """Turns every expected error into its lines and its exit code; a usage error stays click's own."""

    def invoke(self, ctx: click.Context) -> Any:
        session = ctx.ensure_object(Session)
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (a bug is told and logged, never shown raw)
            failure = exits.failure_of(error)
            if failure.reason == exits.BUG:
                session.logs.append(exits.write_crash_log(error))
            exits.report_failure(failure, session)
            ctx.exit(failure.exit_code)


@click.group(cls=_Group, context_settings=_CONTEXT, epilog=exits.HELP)
@click.version_option(package_name="painterly", prog_name="painterly")
def cli() -> None:
    """Put the thing in a photo into a painting, in the painter's hand.

    \b
    Examples:
      painterly weights fetch vgg16
      painterly harmonize boat.jpg seascape.jpg -o result.png --at 0.3,0.6 --height 0.4
      painterly serve all
    """


for _command in (
    harmonizing.harmonize,
    preprocessing.remove_background,
    composing.compose,
    dilating.dilate,
    composing.suggest,
    preparing.prepare,
    harmonizing.pass1,
    harmonizing.pass2,
    resuming.resume,
    jobs.jobs,
    planning.plan,
    evaluating.evaluate,
    replaying.replay,
    serving.serve,
    configuring.config,
    weighting.weights,
    health.health,
    benching.bench,
):
    cli.add_command(_command)


def main() -> None:
    """Run ``painterly`` and exit."""
    cli(prog_name="painterly")
