"""``painterly bench``: how fast this installation computes, on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from painterly_client.cli.options import FOLDER, OUTPUT_FILE, given_arguments

MODULE = "painterly_harmonize.benchmark"


@click.command(short_help="Measure speed and memory on this machine.")
@click.argument("folders", nargs=-1, metavar="[CASE]...", type=FOLDER)
@click.option(
    "--size",
    metavar="PX[,PX...]",
    help="Long sides of the paintings. Iterations and matching are timed at this size, whole runs work at the "
    "preset's. [default: 512]",
)
@click.option(
    "--preset",
    metavar="NAME[,NAME...]",
    help="Presets of the whole runs: draft, standard, full, or none to leave them out. [default: draft]",
)
@click.option("--device", metavar="NAME[,NAME...]", help="cpu, cuda, cuda:N. [default: cpu, and cuda where it is]")
@click.option("--threads", metavar="N", help="CPU threads. [default: the cores]")
@click.option("--network", metavar="NAME", help="vgg16 or vgg19. [default: vgg16]")
@click.option("--precision", metavar="NAME", help="Of convolutions: float32, tf32, bfloat16. [default: float32]")
@click.option("--cuda-graphs", is_flag=True, help="On CUDA devices, replay recorded iterations.")
@click.option("--iterations", metavar="N", help="How many iterations of each pass are timed. [default: 8]")
@click.option(
    "--baseline",
    is_flag=True,
    help="Beside it a plain twin: whole pictures, unfolded patches, torch.optim.LBFGS over all pixels.",
)
@click.option("--grid", is_flag=True, help="Also elements of 5 to 40 %: passes at --size, drafts at 512 to 4096 px.")
@click.option("--json", "json_file", type=OUTPUT_FILE, metavar="FILE", help="Write all figures there.")
@click.pass_context
def bench(ctx: click.Context, /, folders: tuple[Path, ...], **_options: object) -> None:
    """Measure the computation of the harmonize service on this machine, in place of this process.

    A CASE is a folder with the pictures composite, painting and mask; without one, the example pictures of a checkout
    are measured, or drawn ones. Figures are medians; other work on the machine disturbs them.

    \b
    Examples:
      painterly bench
      painterly bench --baseline --preset none --threads 2
      painterly bench my_case --size 512,1024 --preset draft,standard --json figures.json
    """
    arguments = [*given_arguments(ctx, bench), "--", *(str(folder) for folder in folders)]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", MODULE, *arguments])
