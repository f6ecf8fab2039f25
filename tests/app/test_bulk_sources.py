"""Which files a job reads: each once, under the same name wherever it is called from."""

from pathlib import Path

import pytest

from app.bulk.sources import find_sources, identify
from app.errors import InvalidInputError


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent.csv", "There is no file"),
        ("*.none", "Found no files"),
        ("a.md", "say what it is with --format"),
        ("a.csv.gz", "is compressed"),
    ],
)
def test_find_sources_says_what_cannot_be_read(tmp_path: Path, name: str, said: str) -> None:
    for known in ("a.md", "a.csv.gz"):
        write(tmp_path / known, b"x")
    with pytest.raises(InvalidInputError, match=said):
        find_sources([str(tmp_path / name)])


def test_identify_notices_any_change_of_a_small_file(tmp_path: Path) -> None:
    import os

    path = write(tmp_path / "a", b"one")
    before, state = identify(str(path)), path.stat()
    write(path, b"two")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert identify(str(path)) != before
