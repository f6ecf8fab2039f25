"""Who may ask, and under which name: API keys and the Host header.

Keys are kept as SHA-256 hashes, one a line (``sha256sum`` writes the format), and compared in
constant time. Keys are random and long, so a slow hash would buy nothing.
"""

import hashlib
import hmac
import ipaddress
import re
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import problem
from app.errors import InvalidInputError
from app.settings import Settings

OPEN_PATHS = frozenset({"/health/live", "/health/ready"})
"""Answered without a key: what keeps the service running must not depend on one."""
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

_LINE = re.compile(r"(?P<hash>[0-9a-fA-F]{64})(?:\s+.*)?")
_HOST = re.compile(rb"(?P<name>[A-Za-z0-9._-]{1,253}|\[[0-9a-fA-F:.]{2,45}\])(?::[0-9]{1,5})?")


def load_keys(path: Path) -> frozenset[bytes]:
    """Read a file of hashed keys: 64 hexadecimal digits a line, then anything; ``#`` comments.

    Raises:
        InvalidInputError: If the file cannot be read, a line is malformed or no key is there.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"TYNTEGRA_KEYS names {path}, which cannot be read ({type(error).__name__}); "
            "expected a text file of SHA-256 hashes."
        ) from None
    keys: set[bytes] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise InvalidInputError(
                f"Line {number} of {path} is not a hashed key; expected 64 hexadecimal digits, as "
                "`printf %s KEY | sha256sum` writes them."
            )
        keys.add(bytes.fromhex(found["hash"]))
    if not keys:
        raise InvalidInputError(
            f"{path} holds no key; add one or unset TYNTEGRA_KEYS to ask for none."
        )
    return frozenset(keys)


class KeyCheck:
    """Lets only requests with a known ``Authorization: Bearer`` key pass."""

    def __init__(self, app: ASGIApp, keys: frozenset[bytes]) -> None:
        self.app = app
        self._keys = tuple(keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on or answer 401."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._admits(scope):
            await self.app(scope, receive, send)
            return
        detail = "No known API key was sent; expected the header Authorization: Bearer <key>."
        refusal = problem(
            scope, "unauthorized", detail, headers={"www-authenticate": 'Bearer realm="tyntegra"'}
        )
        await refusal(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(sent) != 1:
            return False
        scheme, _, key = sent[0].partition(b" ")
        if scheme.lower() != b"bearer":
            return False
        digest = hashlib.sha256(key.strip()).digest()
        # All keys are compared, so that the time does not tell which one it was.
        return sum(hmac.compare_digest(digest, known) for known in self._keys) > 0


class HostCheck:
    """Refuses a Host header that is malformed, or not a name of this service.

    While listening on a loopback address only loopback names pass, so that a page of a foreign
    site cannot reach the service through a name of its own (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._names = accepted_hosts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on or answer 400."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if found is None:
            detail = (
                "The Host header is missing, repeated or malformed; expected name or name:port."
            )
        elif self._names and found["name"].decode("ascii").lower() not in self._names:
            detail = (
                f"The Host header is none of {', '.join(sorted(self._names))}; use one of these, "
                "or add the name to TYNTEGRA_HOSTS."
            )
        else:
            await self.app(scope, receive, send)
            return
        await problem(scope, "malformed-request", detail)(scope, receive, send)


def accepted_hosts(settings: Settings) -> frozenset[str]:
    """The names accepted in Host headers; empty for any."""
    if settings.hosts:
        return frozenset(settings.hosts)
    host = settings.host.lower()
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        return frozenset()
    return LOOPBACK_NAMES | {f"[{host}]" if ":" in host else host}
