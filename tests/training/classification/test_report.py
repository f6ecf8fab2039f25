import numpy as np
import pytest

from app.retrieval.metrics import wilson_interval
from training.classification.measurement import Cell, Measured
from training.classification.report import (
    cell_report,
    draw_counts,
    drawn_accuracies,
    format_report,
    setting_report,
)

ENG, DEU = "eng_Latn", "deu_Latn"


def cell(*rights: list[int], rows: list[int] | None = None) -> Cell:
    right = np.array(rights, bool)
    places = np.arange(right.shape[1]) if rows is None else np.array(rows)
    return Cell(places, right)


def test_cell_report_hand_computed() -> None:
    found = cell_report(cell([1, 1, 1, 0], [1, 1, 0, 0]))
    low, high = wilson_interval(2, 4)  # 2.5 of 4 in the mean, rounded to even
    assert found == {
        "accuracy": 0.625,
        "low": low,
        "high": high,
        "n": 4,
        "by_classifier": [0.75, 0.5],
    }


def test_drawn_accuracies_count_a_pair_in_all_its_translations() -> None:
    measured = Measured({(ENG, ENG): cell([1, 0, 1]), (DEU, DEU): cell([0, 1], rows=[0, 2])}, 3)
    counts = np.array([[1, 1, 1], [3, 0, 0], [0, 1, 2]])
    expected = [[2 / 3, 1 / 2], [1.0, 0.0], [2 / 3, 1.0]]
    assert np.allclose(drawn_accuracies(measured, counts), expected)


def test_draw_counts_draws_as_many_as_there_are() -> None:
    counts = draw_counts(5, seed=0)
    assert set(counts.sum(axis=1)) == {5}
    assert not np.array_equal(counts, draw_counts(5, seed=1))


def test_setting_report_mean_and_drop() -> None:
    cells = {
        (ENG, ENG): cell([1, 1, 1, 1]),
        (ENG, DEU): cell([1, 1, 1, 0]),
        (DEU, ENG): cell([1, 0, 1, 0]),
        (DEU, DEU): cell([1, 0, 0, 0]),
    }
    found = setting_report(Measured(cells, 4))
    assert found["mean"]["value"] == pytest.approx((1 + 0.75 + 0.5 + 0.25) / 4)
    assert found["drop"]["value"] == pytest.approx(1 - (0.75 + 0.5 + 0.25) / 3)
    assert found["mean"]["low"] < found["mean"]["value"] < found["mean"]["high"]
    assert (found["mean"]["cells"], found["drop"]["cells"]) == (4, 4)
    assert "difference" not in found
    assert found["mean"]["spread"] is None


def test_setting_report_spread_is_over_classifiers() -> None:
    cells = {(ENG, ENG): cell([1, 1, 1, 1], [1, 1, 0, 0]), (DEU, DEU): cell([1] * 4, [0] * 4)}
    found = setting_report(Measured(cells, 4))
    assert found["mean"]["by_classifier"] == [1.0, 0.25]
    assert found["mean"]["spread"] == pytest.approx(0.75 / 2**0.5)


def test_setting_report_difference_is_paired() -> None:
    """One group is right wherever the other is, and on 30 of 100 pairs more: narrower than two
    independent intervals, and it does not hold 0."""
    rng = np.random.default_rng(0)
    base = rng.random(100) < 0.4
    better = base.copy()
    better[np.flatnonzero(~base)[:30]] = True
    ours = Measured({(ENG, ENG): Cell(np.arange(100), better[None])}, 100)
    theirs = Measured({(ENG, ENG): Cell(np.arange(100), base[None])}, 100)
    found = setting_report(ours, theirs)["difference"]
    assert found["mean"]["value"] == pytest.approx(0.3)
    # The share of pairs that differ is what varies: sqrt(.3 * .7 / 100) = 0.046.
    assert found["mean"]["low"] == pytest.approx(0.3 - 1.96 * 0.046, abs=0.015)
    assert found["mean"]["high"] == pytest.approx(0.3 + 1.96 * 0.046, abs=0.015)
    assert found["cells"][f"{ENG} {ENG}"]["value"] == pytest.approx(0.3)


def test_setting_report_of_equals_has_no_difference() -> None:
    measured = Measured({(ENG, ENG): cell([1, 0, 1, 0])}, 4)
    found = setting_report(measured, measured)["difference"]["mean"]
    assert found == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_format_report_has_rows_and_a_matrix() -> None:
    cells = {
        (ENG, ENG): cell([1, 1, 1, 1]),
        (ENG, DEU): cell([1, 1, 1, 0]),
        (DEU, ENG): cell([1, 0, 1, 0]),
        (DEU, DEU): cell([1, 0, 0, 0]),
    }
    standard = {names: found for names, found in cells.items() if names[0] == names[1]}
    text = format_report(
        {
            "task": "pawsx",
            "split": "test",
            "checkpoints": ["a"],
            "seeds": [7],
            "standard": setting_report(Measured(standard, 4), Measured(standard, 4)),
            "generalized": setting_report(Measured(cells, 4)),
        }
    )
    lines = text.splitlines()
    assert lines[0] == "pawsx, test set, 1 classifiers (seeds 7)"
    assert "standard, mean of 2: 62.50 [" in text
    assert "gain over the runs compared with: 0.00 [0.00, 0.00]" in text
    assert lines[-3].split() == ["first", "\\", "second", ENG, DEU]
    assert lines[-2].split() == [ENG, "100.00", "75.00"]
    assert lines[-1].split() == [DEU, "50.00", "25.00"]
