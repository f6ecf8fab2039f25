import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from app.retrieval.metrics import ranks_of, wilson_interval
from app.robustness.bootstrap import mean_over_queries
from training.xtyntegra.encoders import open_encoder
from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.result import read_run
from training.xtyntegra.run import run_benchmark
from training.xtyntegra.sums import language_of
from training.xtyntegra.tasks import load_tasks

from .small_runs import PLAN, SENTENCES, request_for, save_encoder, write_data

CELL = "flores200/to-english/swh_Latn>eng_Latn"


@dataclass(frozen=True)
class Made:
    """A folder with data, an encoder and its run."""

    root: Path
    encoder: Path
    result: dict


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("bench")
    write_data(root / "data")
    encoder = save_encoder(root / "encoder")
    return Made(root, encoder, run_benchmark(request_for(root, encoder, "run"), lambda _: None))


def without_time(result: dict) -> dict:
    kept = {name: value for name, value in result.items() if name not in ("created", "queries")}
    return kept | {"environment": {**result["environment"], "seconds": 0, "commit": ""}}


def test_run_ranks_each_query_as_the_encoder_says(made: Made) -> None:
    cells = {cell.key: cell for cell in load_tasks(("flores200",), made.root / "data")}
    with open_encoder(str(made.encoder)) as encoder, read_run(made.root / "run") as found:
        for entry in found.result["cells"]:
            cell = cells[entry["cell"]]
            if entry["condition"] != "clean" or cell.setting == "pooled":
                continue
            queries = encoder.encode_query(cell.queries)
            expected = ranks_of(queries, encoder.encode_document(cell.pool.texts))
            np.testing.assert_array_equal(found.queries.ranks(cell.key), expected)
            right = int((expected == 1).sum())
            figure = entry["metrics"]["accuracy@1"]
            assert figure["value"] == pytest.approx(right / SENTENCES)
            low, high = wilson_interval(right, SENTENCES)
            assert (figure["low"], figure["high"]) == pytest.approx((low, high))
            ids = found.queries.ids(cell.key).tolist()
            drawn = mean_over_queries(1.0 / expected, ids)
            figure = entry["metrics"]["mrr"]
            assert figure["value"] == pytest.approx(drawn.value)
            assert (figure["low"], figure["high"]) == pytest.approx((drawn.low, drawn.high))


def test_run_sums_are_the_means_of_its_cells(made: Made) -> None:
    for one in made.result["summary"]:
        cells = [
            cell
            for cell in made.result["cells"]
            if all(cell[name] == one[name] for name in ("task", "setting", "condition"))
            and one["track"] in ("all", cell["track"])
        ]
        assert one["languages"] == len(cells)
        for name, figure in one["metrics"].items():
            values = [cell["metrics"][name]["value"] for cell in cells]
            assert figure["macro"] == pytest.approx(np.mean(values))
            assert figure["worst"] == pytest.approx(min(values))
            worst = [cell for cell in cells if language_of(cell) == figure["worst_lang"]]
            assert worst[0]["metrics"][name]["value"] == pytest.approx(min(values))
            assert figure["low"] <= figure["macro"] <= figure["high"]


def test_run_sums_of_attacks_are_the_means_of_their_rates(made: Made) -> None:
    attacked = [one for one in made.result["summary"] if one["attack"]]
    assert {one["condition"] for one in attacked} == {"typo/edits=1", "typo/edits=2"}
    for one in attacked:
        cells = [
            cell["attack"]
            for cell in made.result["cells"]
            if cell["condition"] == one["condition"] and one["track"] in ("all", cell["track"])
        ]
        for name in ("success_rate", "relative_drop"):
            rates = [cell[name]["value"] for cell in cells]
            assert one["attack"][name]["macro"] == pytest.approx(np.mean(rates))
            assert one["attack"][name]["worst"] == pytest.approx(max(rates))
        success = one["attack"]["success_rate"]
        assert success["low"] <= success["macro"] <= success["high"]
        assert success["macro"] > 0.0


def test_run_keeps_a_sample_of_attacked_queries_with_their_ids(made: Made) -> None:
    with read_run(made.root / "run") as found:
        ids = found.queries.ids(CELL).tolist()
        sample = found.queries.ids(CELL, "typo/edits=1/draw=0").tolist()
        assert len(ids) == SENTENCES
        assert len(sample) == 12
        assert set(sample) <= set(ids)
        assert len(found.queries.ranks(CELL, "typo/edits=2/draw=1")) == 12


def test_run_of_several_right_documents_keeps_what_ranks_do_not_say(made: Made) -> None:
    with read_run(made.root / "run") as found:
        pooled = next(c for c in found.result["cells"] if c["setting"] == "pooled")
        values = found.queries.values(pooled["cell"])
        for name, figure in pooled["metrics"].items():
            assert values[name].mean() == pytest.approx(figure["value"])
        assert not np.allclose(values["map"], values["mrr"])


def stop_at(text: str) -> Callable[[str], None]:
    def tell(line: str) -> None:
        if text in line:
            raise KeyboardInterrupt

    return tell


@pytest.mark.parametrize("where", ["from-english done", "pooled done", "summing up"])
def test_run_that_was_stopped_goes_on_to_the_same_result(made: Made, where: str) -> None:
    request = request_for(made.root, made.encoder, f"stopped {where}")
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(request, stop_at(where))
    assert not (request.out / "result.json").exists()
    with pytest.raises(BenchmarkError, match="unfinished run"):
        read_run(request.out)
    before = {path: path.stat().st_mtime_ns for path in (request.out / "parts").iterdir()}
    lines: list[str] = []

    def tell(line: str) -> None:
        # Just before the end: the parts of before were not written again.
        if line == "summing up":
            assert {path: path.stat().st_mtime_ns for path in before} == before
        lines.append(line)

    found = run_benchmark(request, tell)
    assert lines[-1] == "summing up"
    assert without_time(found) == without_time(made.result)
    assert sorted(path.name for path in request.out.iterdir()) == [
        "queries.npz",
        "report.html",
        "result.json",
    ]


def test_run_that_is_finished_is_not_measured_again(made: Made) -> None:
    lines: list[str] = []
    page = made.root / "run" / "report.html"
    page.unlink()
    found = run_benchmark(request_for(made.root, made.encoder, "run"), lines.append)
    assert found == made.result
    assert lines[-1].endswith("is finished already")
    assert page.is_file()


def test_run_with_other_options_does_not_overwrite_a_finished_one(made: Made) -> None:
    request = request_for(made.root, made.encoder, "run", replace(PLAN, draws=1))
    with pytest.raises(BenchmarkError, match="other options"):
        run_benchmark(request, lambda _: None)


def test_run_with_another_encoder_does_not_go_on_with_parts(made: Made, tmp_path: Path) -> None:
    request = request_for(made.root, made.encoder, "mixed")
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(request, stop_at("to-english done"))
    other = save_encoder(tmp_path / "other", seed=1)
    with pytest.raises(BenchmarkError, match=r"unfinished run with another encoder; give"):
        run_benchmark(replace(request, source=str(other)), lambda _: None)


def test_run_with_a_damaged_part_says_so(made: Made) -> None:
    request = request_for(made.root, made.encoder, "damaged part")
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(request, stop_at("pooled done"))
    part = request.out / "parts" / "clean-flores200-to-english.npz"
    part.write_bytes(part.read_bytes()[:500])
    with pytest.raises(BenchmarkError, match=r"clean-flores200-to-english\.npz cannot be read"):
        run_benchmark(request, lambda _: None)


def test_run_without_attacks_says_what_it_left_out(made: Made) -> None:
    request = request_for(made.root, made.encoder, "clean", None)
    found = run_benchmark(request, lambda _: None)
    assert {cell["condition"] for cell in found["cells"]} == {"clean"}
    assert {"what": "attacks", "why": "this run was asked for clean figures alone"} in found[
        "not_measured"
    ]
    clean = [cell for cell in made.result["cells"] if cell["condition"] == "clean"]
    assert found["cells"] == clean


def test_run_without_cells_is_refused(made: Made) -> None:
    request = replace(request_for(made.root, made.encoder, "none"), tasks=(), languages=())
    with pytest.raises(BenchmarkError, match="no cell"):
        run_benchmark(request, lambda _: None)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[: len(text) // 2], "cannot be read"),
        (lambda text: text.replace('"xtyntegra"', '"other"', 1), "no result of this benchmark"),
        (lambda text: text.replace('"version": 1', '"version": 2', 1), "version 2"),
        (lambda text: text.replace('"track": "seen"', '"track": "seem"', 1), "cells.0.track"),
        (lambda text: text.replace('"queries": 20', '"queries": NaN', 1), "NaN is no number"),
    ],
)
def test_read_run_of_a_damaged_result_says_where(
    made: Made, tmp_path: Path, damage: Callable[[str], str], said: str
) -> None:
    text = json.dumps(made.result, indent=1)
    assert damage(text) != text
    (tmp_path / "result.json").write_text(damage(text))
    with pytest.raises(BenchmarkError, match=said):
        read_run(tmp_path)


def test_read_run_with_the_queries_of_another_run_is_refused(made: Made, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(made.result))
    with pytest.raises(BenchmarkError, match=r"queries\.npz cannot be read"):
        read_run(tmp_path)
    (tmp_path / "queries.npz").write_bytes(b"something else")
    with pytest.raises(BenchmarkError, match="one of them was changed"):
        read_run(tmp_path)
