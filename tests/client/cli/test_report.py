"""The report: one page, everything in it, nothing from outside, nothing unescaped."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from painterly_client import (
    Frame,
    HarmonizeParameters,
    ImageFormat,
    Pass1Parameters,
    Pass2Parameters,
    Progress,
    Result,
    Stage,
    StylizationLevel,
)
from painterly_client.cli.recording import History
from painterly_client.cli.report import Run, render
from tests.client.cli.kit import COMPOSITE, ELEMENT, PASS1, PREVIEW, RESULT, picture, run, write_pictures

_VOID = frozenset({"meta", "img", "input"})


class Page(HTMLParser):
    """A page's elements with their attributes, the text in cells, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text_in(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]

    def rows(self) -> dict[str, str]:
        return dict(zip(self.text_in("th"), self.text_in("td"), strict=True))

    def pictures(self) -> dict[str, bytes]:
        """Pictures by their alternative text."""
        return {str(each["alt"]): base64.b64decode(str(each["src"]).partition(",")[2]) for each in self.all("img")}


def history() -> History:
    history = History()
    for iteration, style in ((1, 1000.0), (2, 100.0), (3, 10.0)):
        losses = {"content": 0.0 if iteration == 1 else 2.0 * iteration, "style": style}
        history.add_progress(
            Progress(stage=Stage.PASS1, iteration=iteration, iteration_count=3, losses=losses, elapsed_s=1)
        )
        history.add_frame(
            Frame(
                stage=Stage.PASS1,
                iteration=iteration,
                image=PASS1 if iteration == 3 else PREVIEW,
                format=ImageFormat.JPEG,
                is_stage_result=iteration == 3,
            )
        )
    return history


def a_run(**changes: Any) -> Run:
    result = Result(
        image=RESULT,
        format=ImageFormat.PNG,
        width_px=24,
        height_px=18,
        parameters_used=HarmonizeParameters(
            stylization_level=7.5,
            pass1=Pass1Parameters(iteration_count=3, total_variation_weight=0.001),
            pass2=Pass2Parameters(iteration_count=5),
        ),
        painting_noise=0.0123456789,
        pass2_weights={"content": 1.0, "style": 5.0},
        changed_pixel_count=321,
        blend_pixel_count=456,
        working_width_px=48,
        working_height_px=36,
        device="cuda:0 <b>NVIDIA</b>",
        weights_checksum="sha256:" + "ab" * 32,
        stage_times_s={Stage.PASS1: 1.25, Stage.PASS2: 2.5},
        stylization_level=StylizationLevel(value=7.5, is_estimated=True, reasons=("strong colors (+1.5)",)),
    )
    values: dict[str, Any] = {
        "title": "out.png",
        "pictures": [("photo", picture("black")), ("element", ELEMENT), ("dilated_mask", picture("white"))],
        "before": COMPOSITE,
        "result": result,
        "history": history(),
        "extra": {"method_used": "grabcut", "placement_used": {"center_x_fraction": 0.25}},
    }
    return Run(**values | changes)


def page(**changes: Any) -> Page:
    parsed = Page(render(a_run(**changes)))
    assert parsed.open == []
    return parsed


def test_the_page_shows_all_pictures_with_their_own_bytes() -> None:
    pictures = page().pictures()
    assert pictures == {
        "before": COMPOSITE,
        "after": RESULT,
        "photo": picture("black"),
        "element": ELEMENT,
        "dilated mask": picture("white"),
        "pass 1, iteration 1": PREVIEW,
        "pass 1, iteration 2": PREVIEW,
        "pass 1, iteration 3, its result": PASS1,
    }


def test_the_tables_tell_values() -> None:
    rows = page().rows()
    expected = {
        "device": "cuda:0 <b>NVIDIA</b>",
        "painting noise": "0.0123457",
        "time of pass 1": "1.2 s",
        "time of pass 2": "2.5 s",
        "time": "3.8 s",
        "pixels repainted": "321",
        "pass 2 weight: style": "5",
        "weights": "sha256:" + "ab" * 32,
        "method used": "grabcut",
        "stylization level": "7.5",
        "level used": "7.5, estimated: strong colors (+1.5)",
        "pass1.iteration count": "3",
        "pass1.total variation weight": "0.001",
    }
    assert {name: rows[name] for name in expected} == expected


def test_each_loss_has_its_curve() -> None:
    parsed = page()
    labels = [svg["aria-label"] for svg in parsed.all("svg")]
    assert labels == ["content loss of pass 1 over iterations", "style loss of pass 1 over iterations"]
    content, style = ([point.split(",") for point in str(line["points"]).split()] for line in parsed.all("polyline"))
    # Zero has no place on a logarithmic axis; a factor of ten is the same step everywhere.
    assert len(content) == 2
    xs, ys = [float(x) for x, _ in style], [float(y) for _, y in style]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys[1] - ys[0] == pytest.approx(ys[2] - ys[1], abs=0.2)
    assert ys[0] < ys[2]


def test_nothing_comes_from_outside() -> None:
    parsed = page()
    addresses = [
        value for _, attributes in parsed.elements for name, value in attributes.items() if name in ("src", "href")
    ]
    assert addresses
    assert all(str(address).startswith("data:image/") for address in addresses)
    policies = [meta["content"] for meta in parsed.all("meta") if meta.get("http-equiv")]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"]
    style = "".join(parsed.text_in("style"))
    assert "url(" not in style
    assert "@import" not in style


def test_everything_is_escaped() -> None:
    evil = "</title><script>alert('1')</script>\"><img src=x onerror=alert(2)>"
    parsed = page(
        title=evil, pictures=[(evil, ELEMENT), ("tiff " + evil, picture(image_format="TIFF"))], extra={evil: evil}
    )
    plain = page()
    assert parsed.text_in("h1") == [evil]
    assert parsed.rows()[evil.replace("_", " ")] == evil
    assert len(parsed.all("script")) == len(plain.all("script")) == 1
    assert not any("onerror" in attributes for _, attributes in parsed.elements)


def test_a_format_that_browsers_do_not_show_is_named() -> None:
    parsed = page(pictures=[("painting", picture(image_format="TIFF"))])
    assert "painting" not in parsed.pictures()
    assert "painting: a format that browsers do not show" in parsed.text_in("div")


@pytest.mark.parametrize(("fraction", "expected"), [(0.25, "25%"), (-0.5, "5%"), (1.5, "95%")])
def test_the_divider_starts_at_the_thing(fraction: float, expected: str) -> None:
    parsed = page(extra={"placement_used": {"center_x_fraction": fraction}})
    compare = next(each for each in parsed.all("div") if each.get("class") == "compare")
    assert compare["style"] == f"--divider: {expected}"


def test_without_frames_and_losses_their_sections_are_missing() -> None:
    assert page(history=History()).text_in("h2") == ["Where it came from", "How it was made"]


def test_the_command_writes_the_report(endpoint: str) -> None:
    photo, painting = write_pictures(Path(), "photo.png", "painting.png")
    outcome = run("harmonize", photo, painting, "-o", "out.png", "--report", "r/report.html")
    assert outcome.exit_code == 0, outcome.stderr
    parsed = Page(Path("r/report.html").read_text("utf-8"))
    pictures = parsed.pictures()
    names = {"before", "after", "photo", "painting", "element", "composite", "mask", "dilated mask"}
    assert names <= set(pictures)
    assert (pictures["painting"], pictures["after"]) == (painting.read_bytes(), RESULT)
    assert len(parsed.all("svg")) == 7
    assert parsed.rows()["method reason"] == "There are <no> weights."
