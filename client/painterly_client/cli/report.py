"""One self-contained HTML page about one run: pictures, frames, losses, parameters. It needs no network.

Everything that is not ours is escaped. The still parts work without JavaScript.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import click

from painterly_client import QualityReport, Result
from painterly_client.cli.charts import log_chart, number_text
from painterly_client.cli.files import media_type_and_suffix
from painterly_client.cli.measures import Row, measure_rows
from painterly_client.cli.parameters import flatten, to_json
from painterly_client.cli.progress import level_text, stage_text
from painterly_client.cli.recording import History, LossHistory, SampledFrame

# What browsers show; a TIFF picture is named instead.
_SHOWN_MEDIA_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif"})

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the page tells. ``pictures`` are (what it is, encoded bytes); ``extra`` are more facts, nested or flat."""

    title: str
    pictures: Sequence[tuple[str, bytes]]
    before: bytes
    result: Result
    history: History
    extra: Mapping[str, Any]


def check_result_name(out: Path) -> None:
    """Refuse a result that a browser could not show. Raises: click.UsageError."""
    if out.suffix.lower() in (".tif", ".tiff"):
        raise click.UsageError(f"--report cannot show a TIFF; browsers do not. Name {out.with_suffix('.png')} instead")


def render(run: Run) -> str:
    """The page's HTML."""
    result = run.result
    facts = {
        "device": result.device,
        "time": f"{sum(result.stage_times_s.values()):.1f} s",
        **{f"time of {stage_text(stage)}": f"{seconds:.1f} s" for stage, seconds in result.stage_times_s.items()},
        "size": f"{result.width_px} × {result.height_px} px",
        "passes ran at": f"{result.working_width_px} × {result.working_height_px} px",
        "pixels repainted": result.changed_pixel_count,
        "pixels within the blend": result.blend_pixel_count,
        **({"level used": level_text(result)} if result.stylization_level else {}),
        "painting noise": result.painting_noise,
        **{f"pass 2 weight: {term.replace('_', ' ')}": weight for term, weight in result.pass2_weights.items()},
        "weights": result.weights_checksum,
        **flatten(run.extra),
    }
    parts = [
        f"<h1>{html.escape(run.title)}</h1>",
        f'<p class="lead">{html.escape(_lead(result))}</p>',
        _compare(run.before, result.image, _divider_percent(run.extra)),
        _section("How well it fits", _quality(result.quality)) if result.quality else "",
        _section("Where it came from", _pictures(run.pictures)),
        _section("On the way", _frames(run.history.frames)) if run.history.frames else "",
        _section("Losses", _charts(run.history.losses)) if run.history.losses else "",
        _section("How it was made", _tables(facts, flatten(to_json(result.parameters_used)))),
    ]
    return _page(run.title, "".join(parts))


def data_uri(data: bytes) -> str:
    """An encoded picture as a ``data:`` address."""
    return f"data:{media_type_and_suffix(data)[0]};base64,{base64.b64encode(data).decode('ascii')}"


def _page(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_asset('report.css')}</style></head>"
        f"<body>{body}<script>{_asset('report.js')}</script></body></html>\n"
    )


def _asset(name: str) -> str:
    return resources.files("painterly_client.cli").joinpath(name).read_text("utf-8")


def _section(title: str, content: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{content}</section>"


def _lead(result: Result) -> str:
    parameters = result.parameters_used
    passes = [
        f"{stage.iteration_count} iterations of pass {number}"
        for number, stage in enumerate((parameters.pass1, parameters.pass2), start=1)
        if stage and stage.iteration_count
    ]
    seconds = sum(result.stage_times_s.values())
    level = f"stylization level {parameters.stylization_level:g}" if parameters.stylization_level else ""
    return ", ".join(part for part in (level, " and ".join(passes), f"{seconds:.1f} s on {result.device}") if part)


def _image(data: bytes, name: str) -> str:
    if media_type_and_suffix(data)[0] not in _SHOWN_MEDIA_TYPES:
        return f'<div class="unshown">{html.escape(name)}: a format that browsers do not show</div>'
    return f'<img src="{data_uri(data)}" alt="{html.escape(name)}">'


def _figure(data: bytes, name: str, style: str = "") -> str:
    attribute = f' class="{style}"' if style else ""
    return f"<figure{attribute}>{_image(data, name)}<figcaption>{html.escape(name)}</figcaption></figure>"


def _divider_percent(extra: Mapping[str, Any]) -> float:
    # The divider starts in the middle of the thing, where there is most to compare.
    fraction = extra.get("placement_used", {}).get("center_x_fraction", 0.5)
    return float(min(max(100 * fraction, 5.0), 95.0))


def _compare(before: bytes, after: bytes, divider_percent: float) -> str:
    figures = _figure(before, "before", "before") + _figure(after, "after", "after")
    return f'<div class="compare" style="--divider: {divider_percent:g}%">{figures}</div>'


def _pictures(pictures: Sequence[tuple[str, bytes]]) -> str:
    figures = (_figure(data, name.replace("_", " "), "checker" if name == "element" else "") for name, data in pictures)
    return f'<div class="grid">{"".join(figures)}</div>'


def _frames(frames: Sequence[SampledFrame]) -> str:
    figures = "".join(_figure(frame.image, _frame_name(frame)) for frame in frames)
    return (
        f'<div class="card"><div class="frames">{figures}</div><div class="scrub" hidden><button type="button">Play'
        f'</button><input type="range" min="0" max="{len(frames) - 1}" value="0" aria-label="Frame"></div></div>'
    )


def _frame_name(frame: SampledFrame) -> str:
    suffix = ", its result" if frame.is_stage_result else ""
    return f"{stage_text(frame.stage)}, iteration {frame.iteration}{suffix}"


def _charts(losses: LossHistory) -> str:
    sections = []
    for stage, terms in losses.items():
        charts = "".join(_chart(stage_text(stage), term, points) for term, points in terms.items())
        if charts:
            sections.append(f'<h3>{html.escape(stage_text(stage))}</h3><div class="charts">{charts}</div>')
    return "".join(sections)


def _chart(stage: str, term: str, points: Sequence[tuple[int, float]]) -> str:
    name = term.replace("_", " ")
    heading = f"<p>{html.escape(name)}<span>{number_text(points[-1][1])}</span></p>"
    return f'<div class="chart">{heading}{log_chart(points, f"{name} loss of {stage} over iterations")}</div>'


def _quality(report: QualityReport) -> str:
    warnings = "".join(
        f"<li>{html.escape(each.message)}. <span>{html.escape(each.advice)}</span></li>" for each in report.warnings
    )
    rows = "".join(_quality_row(row) for row in measure_rows(report))
    head = "".join(f"<td>{name}</td>" for name in ("", "before", "after", "what it means"))
    return (
        f'<ul class="warnings">{warnings}</ul>' if warnings else ""
    ) + f'<div class="card"><table class="measures"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _quality_row(row: Row) -> str:
    cells = "".join(f"<td>{html.escape(text)}</td>" for text in (row.name, row.before, row.after, row.meaning))
    return f"<tr>{cells}</tr>"


def _tables(facts: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    blocks = (("The run", facts), ("Parameters used", parameters))
    return (
        '<div class="tables">'
        + "".join(f"<div><h3>{title}</h3>{_table(rows)}</div>" for title, rows in blocks)
        + "</div>"
    )


def _table(rows: Mapping[str, Any]) -> str:
    cells = "".join(
        f"<tr><th>{html.escape(name.replace('_', ' '))}</th><td>{html.escape(_cell(value))}</td></tr>"
        for name, value in rows.items()
    )
    return f'<div class="card"><table>{cells}</table></div>'


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
