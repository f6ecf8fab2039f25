import pytest

from training.progress import Progress
from training.selection import exhausted, judge, metric_language, metric_problem


@pytest.mark.parametrize(
    "metric", ["flores200-dev", "flores200-dev:swh_Latn", "held-out", "held-out:swh_Latn", "loss"]
)
def test_metric_problem_of_a_metric_is_none(metric: str) -> None:
    assert metric_problem(metric) is None


@pytest.mark.parametrize(
    "metric", ["flores", "flores200-dev:", "flores200-dev:sw", "loss:swh_Latn", ""]
)
def test_metric_problem_unknown_metric_lists_the_choices(metric: str) -> None:
    assert f"got {metric!r}: expected flores200-dev, " in str(metric_problem(metric))


@pytest.mark.parametrize("metric", ["tatoeba", "tatoeba:swh"])
def test_metric_problem_tatoeba_is_refused_with_the_reason(metric: str) -> None:
    assert "only for reporting" in str(metric_problem(metric))


def test_metric_language_is_what_stands_after_the_colon() -> None:
    assert metric_language("flores200-dev:swh_Latn") == "swh_Latn"
    assert metric_language("loss") == ""


def judged(metric: str, figures: list[float]) -> tuple[list[bool], Progress]:
    progress = Progress()
    gains = []
    for figure in figures:
        progress.step += 10
        gains.append(judge(progress, metric, figure))
    return gains, progress


def test_judge_accuracy_higher_is_better_and_equal_is_not() -> None:
    gains, progress = judged("flores200-dev", [0.2, 0.4, 0.4, 0.3])
    assert gains == [True, True, False, False]
    assert (progress.best, progress.best_step, progress.waited) == (0.4, 20, 2)


def test_judge_loss_lower_is_better() -> None:
    gains, progress = judged("loss", [2.0, 3.0, 1.0])
    assert gains == [True, False, True]
    assert (progress.best, progress.best_step, progress.waited) == (1.0, 30, 0)


def test_exhausted_after_patience_without_gain_and_never_without_patience() -> None:
    _, progress = judged("loss", [1.0, 2.0, 2.0])
    assert [exhausted(progress, patience) for patience in (0, 1, 2, 3)] == [
        False,
        True,
        True,
        False,
    ]
