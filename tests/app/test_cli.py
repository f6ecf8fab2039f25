"""The command ``tyntegra``: JSON on standard output, messages on standard error, exit status."""

import io
import json
import subprocess
import sys
from typing import Any

import pytest

from app.cli import main


def said(capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    captured = capsys.readouterr()
    return json.loads(captured.out) if captured.out else None, captured.err


@pytest.fixture
def live(serving: Any) -> Any:
    with serving(demo=True) as found:
        yield found


def test_cli_embeds_searches_probes_and_informs(
    live: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    url = ["--url", live.url]
    assert main(["embed", *url, "--dimensions", "4", "one", "two"]) == 0
    embedded, _ = said(capsys)
    assert (len(embedded["embeddings"]), embedded["dimensions"]) == (2, 4)

    assert main(["embed", *url, "--output-type", "binary", "one"]) == 0
    assert all(-128 <= byte <= 127 for byte in said(capsys)[0]["embeddings"][0])
    assert main(["embed", *url, "--windows", "long " * 99]) == 0
    assert said(capsys)[0]["windows"][0] > 1

    assert main(["search", *url, "--top-k", "2", "--lang", "swh_Latn", "maji"]) == 0
    hits = said(capsys)[0]["results"][0]["hits"]
    assert [hit["lang"] for hit in hits] == ["swh_Latn"] * 2

    words = ["--mode", "lexical", "--filter", '{"script": ["Latn"]}', "--min-score", "0.1"]
    assert main(["search", *url, "--top-k", "1", *words, "maji"]) == 0
    found = said(capsys)[0]
    assert "maji" in found["results"][0]["hits"][0]["text"].lower()
    balanced = ["--balance", "interleaved", "--exact", "--lang", "swh_Latn", "--lang", "eng_Latn"]
    assert main(["search", *url, "--top-k", "2", *balanced, "maji"]) == 0
    hits = said(capsys)[0]["results"][0]["hits"]
    assert {hit["lang"] for hit in hits} == {"swh_Latn", "eng_Latn"}

    arguments = ["--attack", "typo", "--queries", "4", "--lang", "eng_Latn", "boil the water"]
    assert main(["probe", *url, *arguments]) == 0
    probed, _ = said(capsys)
    assert [result["attack"] for result in probed["results"]] == ["typo"]

    assert main(["info", *url]) == 0
    informed, error = said(capsys)
    assert informed["model"] == "fake@000000000000"
    assert error == ""


def test_cli_reads_texts_from_standard_input(
    live: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\n two \n"))
    monkeypatch.setenv("TYNTEGRA_URL", live.url)
    assert main(["embed"]) == 0
    assert len(said(capsys)[0]["embeddings"]) == 2


def test_cli_says_what_the_service_refused(live: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--url", live.url, "--collection", "none", "x"]) == 1
    answer, error = said(capsys)
    assert answer is None
    assert error == "tyntegra: There is no collection none; create it first.\n"


def test_cli_without_a_service_says_how_to_start_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["info", "--url", "http://127.0.0.1:9"]) == 1
    assert "tyntegra serve" in capsys.readouterr().err


def test_cli_url_that_is_none_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--url", "http://[::"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("tyntegra: 'http://[::' is no URL")
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["fly"], ["search", "--top-k", "many", "x"]])
def test_cli_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: tyntegra" in capsys.readouterr().err


def test_cli_serve_option_that_does_not_fit_is_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert main(["serve", "--port", "eighty"]) == 2
    assert capsys.readouterr().err.startswith("tyntegra: TYNTEGRA_PORT='eighty'")


def test_cli_help_says_each_command_and_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    helped = capsys.readouterr().out
    assert end.value.code == 0
    assert all(name in helped for name in ("serve", "embed", "search", "probe", "info", "data"))
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    assert "TYNTEGRA_ARTIFACT" in capsys.readouterr().out


def test_cli_data_passes_all_arguments_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["data", "convert", "--help"])
    assert end.value.code == 0
    assert "usage: tyntegra data convert" in capsys.readouterr().out
    assert main(["data", "lexicon", "x.tsv", "--corpora", "none"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("tyntegra data: unknown corpora none")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "missing", "named"),
    [
        (["data", "list"], "pyarrow", "`tyntegra data` needs what training needs, and pyarrow is"),
        (["data", "list"], "training", "training.data is"),
        (["bench", "compare", "x"], "pyarrow", "`tyntegra bench` needs what training needs"),
    ],
)
def test_cli_of_training_without_the_extra_names_it_in_one_line(
    command: list[str], missing: str, named: str
) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"from app.cli import main; sys.exit(main({command!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert named in done.stderr
    assert ".[train]" in done.stderr
    assert done.stderr.count("\n") == 1


def test_cli_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("tyntegra 0.")


@pytest.mark.parametrize("sent", ["{", "[]", "{}", "7"])
def test_cli_filter_that_is_no_object_is_refused_before_anything_is_asked(
    capsys: pytest.CaptureFixture[str], sent: str
) -> None:
    assert main(["search", "--url", "http://127.0.0.1:9", "--filter", sent, "x"]) == 1
    assert "--filter" in capsys.readouterr().err
