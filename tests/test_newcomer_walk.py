"""What a newcomer does, on a fresh clone: ``make serve``, then each command that README.md shows.

It works on what is committed, so commit before you trust it. How README.md shows commands:

- A ``console`` block is a dialogue: a line that begins with ``$ `` is a command (a backslash at its
  end continues it on the next line), the lines up to the next command are what it printed.
- In what it printed, ``...`` stands for anything, white space may be added next to punctuation (to
  break long lines of JSON), and decimal numbers may differ by 0.01. All else must be equal.
- In an ``sh`` block each ``curl`` command must succeed; its output is not shown.

Only commands that begin with ``curl`` are run; the address 127.0.0.1:8000 becomes that of the test.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[1]
TOLERANCE = 0.01
_BLOCK = re.compile(r"^```(console|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(r"\b(?:127\.0\.0\.1|localhost):8000\b")
_PIECE = re.compile(r"(?P<any>\.\.\.)|(?P<number>(?<![\w.])-?\d+\.\d+(?![\w.]))|(?P<space>\s+)")
_DECIMAL = r"(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"


@dataclass(frozen=True)
class Shown:
    """A command of README.md and what it printed; None if that is not shown."""

    command: str
    output: str | None


def shown_commands(text: str) -> list[Shown]:
    """Find the curl commands of README.md, in order."""
    found: list[Shown] = []
    for language, block in _BLOCK.findall(text):
        joined = block.replace("\\\n", " ")
        if language == "sh":
            lines = (line.strip() for line in joined.splitlines())
            found += [Shown(line, None) for line in lines if line.startswith("curl ")]
            continue
        for part in re.split(r"^\$ ", joined, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            if command.startswith("curl "):
                found.append(Shown(command, output))
    return found


def matches(shown: str, printed: str) -> bool:
    """Tell whether ``printed`` is what README.md shows, as this module's docstring defines it."""
    pattern, numbers, end = "", [], 0
    shown = shown.strip()
    for piece in _PIECE.finditer(shown):
        pattern += re.escape(shown[end : piece.start()])
        before, after = shown[piece.start() - 1 : piece.start()], shown[piece.end() :][:1]
        if piece["any"]:
            pattern += ".*?"
        elif piece["number"]:
            pattern += _DECIMAL
            numbers.append(float(piece["number"]))
        else:
            pattern += r"\s*" if set(before + after) & set('{}[],:".') else r"\s+"
        end = piece.end()
    pattern += re.escape(shown[end:])
    found = re.fullmatch(pattern, printed.strip(), re.DOTALL)
    if found is None:
        return False
    pairs = zip(numbers, found.groups(), strict=True)
    return all(abs(number - float(group)) <= TOLERANCE for number, group in pairs)


@pytest.mark.parametrize(
    ("shown", "printed", "outcome"),
    [
        ('{"a": [0.5, 1]}', '{"a":[0.5,1]}', True),
        ('{"a": [0.5, 1]}', '{"a":[0.5,2]}', False),
        ("0.50", "0.5049", True),
        ("0.50", "0.52", False),
        ('{"score": 0.83, ...}', '{"score": 0.8312, "text": "x"}', True),
        ('{"rank": 1, ...}', '{"rank": 2, "text": "x"}', False),
        ('{"text": "two words"}', '{"text":"twowords"}', False),
        ('{"text": "clean"}', '{"text":"clear"}', False),
        ("[-0.02, ...]", "[-0.0213, 0.5]", True),
        ("done", "done and more", False),
    ],
)
def test_matches_of_shown_and_printed(shown: str, printed: str, outcome: bool) -> None:
    assert matches(shown, printed) is outcome


def test_shown_commands_are_found_with_their_output() -> None:
    text = "```console\n$ curl -s a \\\n  -d b\nout\nmore\n$ make serve\n$ curl c\n```\n"
    text += "```sh\ncurl d\nls\n```\n"
    commands = [(one.command.split(), one.output) for one in shown_commands(text)]
    assert commands == [
        (["curl", "-s", "a", "-d", "b"], "out\nmore\n"),
        (["curl", "c"], ""),
        (["curl", "d"], None),
    ]


@dataclass(frozen=True)
class Checkout:
    """A fresh clone, and the environment of somebody who has set nothing."""

    folder: Path
    environ: dict[str, str]
    port: int

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run make to its end."""
        return subprocess.run(
            ["make", *arguments],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    @contextmanager
    def serving(self) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        """Run ``make serve`` until it is ready; yields it and what it says."""
        said = self.folder.parent / "said"
        with said.open("wb") as log:
            process = subprocess.Popen(
                ["make", "serve"],
                cwd=self.folder,
                env=self.environ,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            self._wait_until_ready(process, said)
            yield process, said
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _wait_until_ready(self, process: subprocess.Popen[bytes], said: Path) -> None:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            assert process.poll() is None, said.read_text()
            try:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{self.port}/health/ready", timeout=5
                ):
                    return
            except OSError:  # refused, or 503 while starting
                time.sleep(0.3)
        pytest.fail(f"make serve is not ready after ten minutes:\n{said.read_text()}")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    if absent := [tool for tool in ("git", "make", "curl") if shutil.which(tool) is None]:
        pytest.skip(f"{', '.join(absent)} not installed")
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout, so there is nothing to clone")
    folder = tmp_path_factory.mktemp("newcomer") / "tyntegra"
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    # Neither this run's settings nor those that make hands down to its children.
    foreign = re.compile(r"TYNTEGRA_|MAKE|MFLAGS|PYTHON|VIRTUAL_ENV|ORT_|HF_")
    environ = {name: value for name, value in os.environ.items() if not foreign.match(name)}
    environ |= {"TYNTEGRA_PORT": str(port), "TYNTEGRA_STATE": str(folder.parent / "state")}
    return Checkout(folder, environ, port)


def test_first_serve_answers_as_readme_shows(
    checkout: Checkout, record_property: Callable[[str, object], None]
) -> None:
    readme = (checkout.folder / "README.md").read_text()
    assert "make serve" in readme
    commands = shown_commands(readme)
    for path in ("/embed", "/search", "/probe/adversarial"):
        assert any(path in one.command and one.output for one in commands), f"{path} is not shown"
    started = time.monotonic()
    with checkout.serving() as (process, said):
        record_property("seconds_to_ready", round(time.monotonic() - started))
        wrong = [why for one in commands if (why := _differs(checkout, one))]
        assert wrong == []
        _second_server_is_refused(checkout)
        os.kill(process.pid, signal.SIGTERM)
        _ended_cleanly(process, said, signal.SIGTERM)
    python = checkout.folder / ".venv/bin/python"
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is not None)"
    assert subprocess.run([python, "-c", code], check=False).returncode == 0, "torch was installed"


def _differs(checkout: Checkout, shown: Shown) -> str | None:
    """Run a command; say how what it prints differs from what is shown, None if it does not."""
    address = f"127.0.0.1:{checkout.port}"
    command = _ADDRESS.sub(address, shown.command)
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=checkout.folder,
        env=checkout.environ,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    if done.returncode:
        return f"{shown.command}\nended with {done.returncode}: {done.stderr}"
    if shown.output is None:
        refused = re.search(r'"status"\s*:\s*[45]\d\d', done.stdout)
        return f"{shown.command}\nprinted: {done.stdout[:2000]}" if refused else None
    if matches(_ADDRESS.sub(address, shown.output), done.stdout):
        return None
    return f"{shown.command}\nREADME shows: {shown.output}\nprinted: {done.stdout[:4000]}"


def _second_server_is_refused(checkout: Checkout) -> None:
    done = checkout.make("serve")
    assert done.returncode != 0
    own = [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]
    assert len(own) == 1, done.stderr
    assert f"Port {checkout.port}" in own[0]
    assert "TYNTEGRA_PORT" in own[0]


def _ended_cleanly(process: subprocess.Popen[bytes], said: Path, sent: signal.Signals) -> None:
    # make passes the signal on, waits for the service and then ends by that signal itself; had the
    # service ended with anything but 0, make would say so in a line with ***.
    assert process.wait(60) in (0, -sent)
    text = said.read_text()
    assert "***" not in text
    assert "Traceback" not in text
    assert '"ended"' in text.splitlines()[-1]


def test_second_serve_installs_nothing_and_ends_on_ctrl_c(checkout: Checkout) -> None:
    if not (checkout.folder / ".venv").exists():
        pytest.skip("the first walk has not installed anything")
    with checkout.serving() as (process, said):
        assert "Installing" not in said.read_text()
        os.killpg(process.pid, signal.SIGINT)
        _ended_cleanly(process, said, signal.SIGINT)


def test_serve_with_too_old_a_python_says_so(checkout: Checkout, tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    fresh = f"VENV={tmp_path}/venv"
    done = checkout.make("serve", fresh, f"PYTHON={old}")
    assert done.returncode != 0
    assert "is not a Python 3.11 or newer" in done.stderr.splitlines()[0]


def test_serve_after_a_cut_short_installation_without_a_package_index(
    checkout: Checkout, tmp_path: Path
) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "left").touch()
    dead = subprocess.Popen(["true"])
    dead.wait()
    (venv / ".installing").write_text(str(dead.pid))
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "1"}
    offline = Checkout(checkout.folder, checkout.environ | nowhere, checkout.port)
    done = offline.make("serve", f"VENV={venv}")
    assert done.returncode != 0
    assert "was cut short; starting it afresh" in done.stderr
    assert "pip cannot reach its package index" in done.stderr
    assert not (venv / "left").exists()
    assert (venv / "bin" / "python").exists()
    assert not (venv / ".serve-installed").exists()
