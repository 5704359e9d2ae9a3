"""``evaluate``, and the quality report in what ``harmonize`` answers and shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from painterly.v1 import harmonize_service_pb2 as pb
from painterly_client.cli.parameters import to_json
from tests.client.cli.kit import one_json, play, result, run, write_pictures
from tests.client.cli.test_report import Page
from tests.client.kit import Harmonize
from tests.client.test_quality import MESSAGE, REPORT

PICTURES = ("result.png", "painting.png", "c.png", "m.png", "d.png", "s.png")
ARGUMENTS = ("evaluate", "result.png", "painting.png", "--composite", "c.png", "--mask", "m.png")


@pytest.fixture
def evaluation(endpoint: str, harmonize: Harmonize) -> Harmonize:
    write_pictures(Path(), *PICTURES)
    harmonize.handler = play(pb.EvaluateResponse(report=MESSAGE))
    return harmonize


def test_the_numbers_are_told_with_their_meaning(evaluation: Harmonize) -> None:
    outcome = run(*ARGUMENTS)
    assert (outcome.exit_code, outcome.stdout) == (0, ""), outcome.stderr
    lines = outcome.stderr.splitlines()
    cells = {line.split("  ")[0]: line.split() for line in lines}
    assert cells["background"][1:6] == [str(2**40), "by", "up", "to", "3"]
    assert cells["background"][6] == "exact"
    assert cells["edge"][1:3] == ["2.00", "1.50"]
    assert cells["structure"][1:3] == ["1.00", "-0.25"]
    assert cells["mean color"][2:4] == ["0.5", "10.0"]
    assert cells["fine detail"][2:4] == ["7.50", "17.00"]
    assert "mean color, style region" not in cells
    assert "the object covers 12.5% of the painting; measured at 512x300 px" in lines
    assert lines[-1] == "look: it shows; look"


def test_both_sides_are_told_against_a_style_region(evaluation: Harmonize) -> None:
    both = pb.EvaluateResponse(report=MESSAGE)
    both.report.before.style_region.CopyFrom(both.report.after.style_region)
    evaluation.handler = play(both)
    outcome = run(*ARGUMENTS, "--dilated-mask", "d.png", "--style-mask", "s.png")
    (line,) = [each for each in outcome.stderr.splitlines() if each.startswith("mean color, style region")]
    assert line.split()[4:6] == ["20.0", "20.0"]
    (request,) = evaluation.requests
    files = {"result": 0, "painting": 1, "composite": 2, "mask": 3, "dilated_mask": 4, "style_mask": 5}
    for field, number in files.items():
        assert getattr(request, field).data == Path(PICTURES[number]).read_bytes(), field


def test_the_numbers_as_json(evaluation: Harmonize) -> None:
    outcome = run(*ARGUMENTS, "--json", "--quiet")
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    told = one_json(outcome.stdout)
    assert told == to_json(REPORT)
    assert told["after"]["painting"]["lab_mean_distance"] == 10
    assert told["warnings"] == [{"code": "SEAM_VISIBLE", "message": "it shows", "advice": "look"}]
    (request,) = evaluation.requests
    assert not request.HasField("dilated_mask")
    assert not request.HasField("style_mask")


def test_a_file_that_is_not_there_is_a_usage_error() -> None:
    write_pictures(Path(), "painting.png", "c.png", "m.png")
    outcome = run(*ARGUMENTS)
    assert outcome.exit_code == 2
    assert "result.png" in outcome.stderr


def test_harmonize_answers_and_shows_the_report(endpoint: str, harmonize: Harmonize) -> None:
    measured = result()
    measured.result.quality.CopyFrom(MESSAGE)
    harmonize.handler = play(measured)
    write_pictures(Path(), "painting.png", "c.png", "m.png")
    prepared = ("--composite", "c.png", "--mask", "m.png", "painting.png")
    outcome = run("harmonize", *prepared, "-o", "out.png", "--report", "report.html", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert "look: it shows; look" in outcome.stderr.splitlines()
    assert one_json(outcome.stdout)["quality"] == to_json(REPORT)
    shown = Page(Path("report.html").read_text("utf-8"))
    assert "How well it fits" in shown.text_in("h2")
    cells = shown.text_in("td")
    first = cells.index("mean color")
    assert cells[first : first + 3] == ["mean color", "0.5", "10.0"]
    assert shown.text_in("li") == ["it shows. "]


def test_without_a_report_there_is_nothing_to_show(endpoint: str) -> None:
    write_pictures(Path(), "painting.png", "c.png", "m.png")
    outcome = run("harmonize", "--composite", "c.png", "--mask", "m.png", "painting.png", "-o", "o.png", "--json")
    assert one_json(outcome.stdout)["quality"] is None
