"""The commands ``tyntegra data``: what they print, what they leave, and how they fail."""

import functools
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.text.lexicon import Lexicon
from training.corpus import load_bitext, select_corpora
from training.data.__main__ import main
from training.data.sources import SOURCES, find_files
from training.registry import CORPORA, CorpusError


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An address, and the folder that is served there."""
    folder = tmp_path / "site"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", folder
        server.shutdown()
        thread.join()


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command fails with."""
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("tyntegra data: ")
    assert error.count("\n") == 1
    return error


def test_list_tells_present_and_absent_corpora_and_sources(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "--data", str(data), "--json"]) == 0
    listing = json.loads(capsys.readouterr().out)
    pairs = {corpus["name"]: corpus["pairs"] for corpus in listing["corpora"]}
    assert set(pairs) == set(CORPORA)
    assert (pairs["nllb-seed"], pairs["bible-nt"]) == (180, None)
    assert {source["name"] for source in listing["sources"]} == set(SOURCES)
    assert main(["list", "--data", str(data)]) == 0
    told = capsys.readouterr().out
    assert "180 pairs  CC BY-SA 4.0 (may be shipped)" in told
    assert "absent  CC BY-NC 4.0 (not to be shipped)" in told


def test_list_tells_a_damaged_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bitext").mkdir()
    (tmp_path / "bitext" / "nusax.parquet").write_bytes(b"none")
    assert main(["list", "--data", str(tmp_path)]) == 0
    assert "unreadable" in capsys.readouterr().out


def test_fetch_pins_what_it_brings_and_refuses_another_file_later(
    site: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, folder = site
    (folder / "words.txt").write_text("water eau\n")
    sha256 = hashlib.sha256(b"water eau\n").hexdigest()
    to = tmp_path / "sources"
    arguments = ["fetch", f"{url}/words.txt", "--to", str(to)]
    assert main(arguments) == 0
    assert f"sha256 {sha256} (first fetch, noted in" in capsys.readouterr().out
    pin = json.loads((to / "sources.lock.json").read_text())["files"]["own/words.txt"]
    assert (pin["sha256"], pin["bytes"], pin["url"]) == (sha256, 10, f"{url}/words.txt")

    (folder / "words.txt").write_text("water feu\n")
    assert main(arguments) == 0  # is there: the network is not asked
    assert "(was here, as" in capsys.readouterr().out

    (to / "own" / "words.txt").unlink()
    assert f"expected {sha256}" in error_of(capsys, *arguments)
    assert list((to / "own").iterdir()) == []


def test_fetch_mends_a_damaged_file(
    site: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, folder = site
    (folder / "words.txt").write_text("water eau\n")
    arguments = ["fetch", f"{url}/words.txt", "--to", str(tmp_path)]
    assert main(arguments) == 0
    (tmp_path / "own" / "words.txt").write_text("damaged")
    assert main(arguments) == 0
    assert (tmp_path / "own" / "words.txt").read_text() == "water eau\n"


def test_fetch_refuses_what_contradicts_itself(
    site: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, folder = site
    (folder / "words.txt").write_text("water eau\n")
    to = ["--to", str(tmp_path / "sources")]
    assert main(["fetch", f"{url}/words.txt", *to]) == 0
    capsys.readouterr()
    assert "checksums of own/words.txt differ: the checksum given is 00" in error_of(
        capsys, "fetch", f"{url}/words.txt", *to, "--sha256", "00"
    )
    other = f"{url}/./words.txt"
    assert "was fetched from" in error_of(capsys, "fetch", other, *to)
    assert "these are 2" in error_of(capsys, "fetch", "ntrex128:swa", *to, "--sha256", "00")
    (tmp_path / "sources" / "sources.lock.json").write_text("[]")
    assert "cannot understand" in error_of(capsys, "fetch", f"{url}/words.txt", *to)


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        ("nllb-sed", "no source named nllb-sed"),
        ("ntrex128", "is fetched by parts: give ntrex128:PART"),
        ("xnli:en", "has no parts"),
        ("muse:../../x", "is no name of a file"),
        ("https://example.org/", "is no name of a file"),
    ],
)
def test_find_files_refuses_what_is_no_source(request_: str, complaint: str) -> None:
    with pytest.raises(CorpusError, match=complaint):
        find_files(request_)


def test_find_files_fills_parts_in() -> None:
    files = find_files("tatoeba-v1:swh")
    assert [file.name for file in files] == [
        "tatoeba-v1/tatoeba.swh-eng.swh",
        "tatoeba-v1/tatoeba.swh-eng.eng",
    ]
    assert files[0].url.endswith("/v1/tatoeba.swh-eng.swh")


@pytest.mark.parametrize("name", SOURCES)
def test_sources_have_https_addresses_and_whole_checksums(name: str) -> None:
    files = find_files(f"{name}:xx" if SOURCES[name].part else name)
    assert files
    for file in files:
        assert file.url.startswith("https://")
        assert "{" not in file.url + file.name
        assert file.name.startswith(f"{name}/")
        assert len(file.sha256) in (0, 64)
    assert set(SOURCES[name].sha256) <= set(SOURCES[name].files)


def test_convert_makes_a_corpus_that_training_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out, report = (tmp_path / name for name in ("a.tsv", "a.parquet", "left-out.txt"))
    lines = [f"question {number}\tjibu {number}" for number in range(5)]
    source.write_text("\n".join(["q\td", *lines, *["only"] * 12]) + "\n")
    options = ["--query-column", "q", "--document-column", "d", "--report", str(report)]
    langs = ["--lang-query", "eng_Latn", "--lang-document", "swh_Latn"]
    assert main(["convert", str(source), str(out), *options, *langs]) == 0
    told = capsys.readouterr()
    assert told.out == f"{out}: 5 pairs\nleft out: 12 (wrong number of columns)\n"
    assert told.err.splitlines()[0] == "line 7: wrong number of columns 1, expected 2"
    assert len(told.err.splitlines()) == 11
    assert len(report.read_text().splitlines()) == 12
    corpora = select_corpora(["mine"], shippable=False, files={"mine": str(out)})
    assert len(load_bitext(tmp_path, corpora)) == 5


def test_convert_lines_of_two_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "en.txt").write_text("One.\n")
    (tmp_path / "sw.txt").write_text("Moja.\n")
    arguments = ["convert", str(tmp_path / "en.txt"), str(tmp_path / "a.parquet")]
    arguments += ["--documents", str(tmp_path / "sw.txt"), "--lang-query", "eng_Latn"]
    assert "give --lang-document" in error_of(capsys, *arguments)
    assert main([*arguments, "--lang-document", "swh_Latn"]) == 0
    assert capsys.readouterr().out.endswith("a.parquet: 1 pairs\n")


def test_convert_onto_itself_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"mine")
    assert "is what is read" in error_of(capsys, "convert", str(path), str(path))
    assert path.read_bytes() == b"mine"


def test_lexicon_reads_corpora_and_word_lists(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, out = tmp_path / "en-tr.txt", tmp_path / "words.tsv.gz"
    words.write_text("water su\nwater !\n")
    listed = ["--words", str(words), "eng_Latn", "tur_Latn"]
    assert main(["lexicon", str(out), *listed]) == 0
    assert "1 entries, 2 languages\nleft out: 1 (not words alone)" in capsys.readouterr().out
    assert Lexicon.load([out]).lookup("su", "tur_Latn") == (("water", "eng_Latn"),)
    corpora = ["--data", str(data), "--corpora", "nllb-seed", *listed]
    assert main(["lexicon", str(out), *corpora]) == 0  # sentences alone, and the list
    assert "too long" in capsys.readouterr().out
    assert "give --corpora or --words" in error_of(capsys, "lexicon", str(out))
    assert "lang 'en' is malformed" in error_of(
        capsys, "lexicon", str(out), "--words", str(words), "en", "tur_Latn"
    )
    assert "cannot read the corpus" in error_of(
        capsys, "lexicon", str(out), "--data", str(data), "--corpora", "osm-id-schema"
    )
