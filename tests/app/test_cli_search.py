"""What ``tyntegra search`` asks for."""

import argparse
from typing import Any

import pytest

from app.cli import main
from app.commands.search import add_search_options, search_body
from app.errors import InvalidInputError


def asked(*arguments: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_search_options(parser)
    return search_body(parser.parse_args(arguments), ["maji"])


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (["--smoothing", "0.2"], {"sigma": 0.2}),
        (["--smoothing", "0.2", "--samples", "16"], {"sigma": 0.2, "samples": 16}),
        (["--smoothing", "1", "--noise-seed", "0"], {"sigma": 1.0, "seed": 0}),
    ],
)
def test_search_body_has_the_smoothing_that_was_asked_for(
    options: list[str], sent: dict[str, Any]
) -> None:
    assert asked(*options)["smoothing"] == sent


def test_search_body_without_smoothing_has_none() -> None:
    assert "smoothing" not in asked("--top-k", "3")


@pytest.mark.parametrize("option", ["--samples", "--noise-seed"])
def test_search_body_of_noise_without_its_size_is_refused(option: str) -> None:
    with pytest.raises(InvalidInputError, match="without --smoothing"):
        asked(option, "4")


def test_search_smoothed_by_no_number_is_refused_in_one_line(
    serving: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(demo=True) as live:
        for sigma in ("nan", "inf", "-1"):
            assert main(["search", "--url", live.url, f"--smoothing={sigma}", "x"]) == 1
            assert len(capsys.readouterr().err.splitlines()) == 1
