"""Parameters from files and flags."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from painterly_client import (
    HarmonizeParameters,
    Network,
    ParityParameters,
    Pass1Parameters,
    Pass2Parameters,
    RefinementGuide,
)
from painterly_client.cli.parameters import flatten, read_parameters, to_json, with_flags


def read(text: str) -> HarmonizeParameters:
    Path("p.json").write_text(text)
    return read_parameters(Path("p.json"))


def test_a_file_becomes_parameters_and_back() -> None:
    parameters = HarmonizeParameters(
        network=Network.VGG19,
        stylization_level=3.0,
        seed=0,
        pass1=Pass1Parameters(style_weight=0.0, history_size=5),
        pass2=Pass2Parameters(refinement_guide=RefinementGuide.FEATURES),
        parity=ParityParameters(truncate_on_export=True),
    )
    assert read(json.dumps(to_json(parameters))) == parameters


def test_a_whole_number_will_do_for_a_number() -> None:
    level = read('{"stylization_level": 4}').stylization_level
    assert (level, type(level)) == (4.0, float)


def test_flags_win_and_leave_the_rest() -> None:
    parameters = HarmonizeParameters(seed=1, pass1=Pass1Parameters(iteration_count=2, style_weight=3.0))
    flags = {"seed": 5, "stylization_level": None, "pass1.iteration_count": 7, "pass2.iteration_count": 8}
    assert with_flags(parameters, flags) == HarmonizeParameters(
        seed=5,
        pass1=Pass1Parameters(iteration_count=7, style_weight=3.0),
        pass2=Pass2Parameters(iteration_count=8),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "must be an object, got []"),
        ('{"level": 5}', "unknown field 'level'; known fields: preset"),
        ('{"pass1": {"iterations": 5}}', "pass1: unknown field 'iterations'; known fields: iteration_count"),
        ('{"pass1": 5}', "pass1: must be an object, got 5"),
        ('{"pass1": {"iteration_count": 2.5}}', "pass1.iteration_count must be a whole number, got 2.5"),
        ('{"seed": true}', "seed must be a whole number, got true"),
        ('{"stylization_level": "high"}', 'stylization_level must be a number, got "high"'),
        ('{"network": "resnet"}', 'network must be one of vgg16, vgg19, got "resnet"'),
        ('{"parity": {"binned_histogram": 1}}', "parity.binned_histogram must be true or false, got 1"),
    ],
)
def test_a_wrong_file_is_refused_by_field_and_value(text: str, message: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        read(text)
    assert message in caught.value.message
    assert "--parameters p.json" in caught.value.message


def test_flatten_joins_names_by_dots() -> None:
    assert flatten({"seed": 1, "pass1": {"a": 2, "b": {"c": 3}}}) == {"seed": 1, "pass1.a": 2, "pass1.b.c": 3}
