"""A stand-in for a Qdrant server: its REST interface over qdrant-client's local mode.

Every request is checked by the client's pydantic models, which are generated from the server's
published OpenAPI schema: a field that is unknown or of another type is refused, as is a path that
is not there. What local mode leaves out (shards, indexes) is kept here as far as errors go. It can
be told to fail: to answer 503, to drop the connection before or after the work, to be slow.
"""

import contextlib
import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, TypeAdapter, ValidationError
from qdrant_client import QdrantClient, models

Handler = Callable[["Backend", str, Any], Any]


class RefusedError(Exception):
    """What the server would refuse, with the status."""


@dataclass
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: A status to answer, ``reset`` (drop the connection unread), ``lost`` (do the work and
            drop the connection) or ``slow`` (wait before answering).
        path: Which requests it hits, by what is in "METHOD /path".
        times: How many of them.
        seconds: How slow, or the Retry-After of a 429.
    """

    kind: int | str
    path: str = ""
    times: int = 1
    seconds: float = 0.0


@dataclass
class Backend:
    """What the nodes of a cluster share."""

    local: QdrantClient = field(default_factory=lambda: QdrantClient(":memory:"))
    lock: threading.RLock = field(default_factory=threading.RLock)
    created: dict[str, models.CreateCollection] = field(default_factory=dict)
    indexes: dict[str, dict[str, str]] = field(default_factory=dict)
    shards: dict[str, set[str]] = field(default_factory=dict)
    shard_of: dict[tuple[str, str], str | None] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    asked: list[tuple[str, dict[str, list[str]], dict[str, str]]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def real(self, name: str) -> str:
        """The collection behind a name, which may be an alias."""
        for alias in self.local.get_aliases().aliases:
            if alias.alias_name == name:
                return alias.collection_name
        return name

    def require_shard(self, name: str, ids: list[str], shard: Any) -> None:
        """Refuse points that come without their shard, or to another one than before."""
        keys = self.shards.get(name)
        if keys is None and shard is not None:
            raise RefusedError(400, "shard key for a collection of automatic sharding")
        if keys is not None and shard not in keys:
            raise RefusedError(400, f"shard key {shard} not found")
        for one in ids:
            if self.shard_of.setdefault((name, one), shard) != shard:
                raise RefusedError(500, f"{one} would be in two shards")


ROUTES: list[tuple[str, re.Pattern[str], Any, Handler]] = []


def route(method: str, path: str, body: Any = None) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        pattern = re.compile(path.replace("{name}", "(?P<name>[^/]+)") + "$")
        ROUTES.append((method, pattern, TypeAdapter(body) if body else None, handler))
        return handler

    return register


@route("GET", "/")
def info(backend: Backend, name: str, body: Any) -> Any:
    return models.VersionInfo(title="qdrant - vector search engine", version="1.20.0")


@route("GET", "/collections")
def list_collections(backend: Backend, name: str, body: Any) -> Any:
    return backend.local.get_collections()


@route("GET", "/aliases")
def list_aliases(backend: Backend, name: str, body: Any) -> Any:
    return backend.local.get_aliases()


@route("POST", "/collections/aliases", models.ChangeAliasesOperation)
def change_aliases(backend: Backend, name: str, body: models.ChangeAliasesOperation) -> Any:
    return backend.local.update_collection_aliases(body.actions)


@route("PUT", "/collections/{name}", models.CreateCollection)
def create(backend: Backend, name: str, body: models.CreateCollection) -> Any:
    if backend.local.collection_exists(name):
        raise RefusedError(409, f"Wrong input: Collection `{name}` already exists!")
    if body.sharding_method == models.ShardingMethod.CUSTOM:
        backend.shards[name] = set()
    backend.created[name] = body
    return backend.local.create_collection(
        name,
        vectors_config=body.vectors,
        sparse_vectors_config=body.sparse_vectors,
        metadata=body.metadata,
    )


@route("GET", "/collections/{name}")
def describe(backend: Backend, name: str, body: Any) -> Any:
    return backend.local.get_collection(name)


@route("DELETE", "/collections/{name}")
def drop(backend: Backend, name: str, body: Any) -> Any:
    return backend.local.delete_collection(name)


@route("PUT", "/collections/{name}/index", models.CreateFieldIndex)
def index(backend: Backend, name: str, body: models.CreateFieldIndex) -> Any:
    backend.local.get_collection(name)
    schema = body.field_schema
    assert isinstance(schema, models.PayloadSchemaType)
    backend.indexes.setdefault(name, {})[body.field_name] = schema.value
    return done()


@route("GET", "/collections/{name}/shards")
def list_shards(backend: Backend, name: str, body: Any) -> Any:
    keys = [models.ShardKeyDescription(key=key) for key in sorted(backend.shards[name])]
    return models.ShardKeysResponse(shard_keys=keys)


@route("PUT", "/collections/{name}/shards", models.CreateShardingKey)
def create_shard(backend: Backend, name: str, body: models.CreateShardingKey) -> Any:
    if name not in backend.shards or body.shard_key in backend.shards[name]:
        raise RefusedError(400, "no custom sharding, or the key exists")
    backend.shards[name].add(str(body.shard_key))
    return True


@route("POST", "/collections/{name}/points/batch", models.UpdateOperations)
def update(backend: Backend, name: str, body: models.UpdateOperations) -> Any:
    for operation in body.operations:
        match operation:
            case models.UpsertOperation(upsert=models.PointsList() as listed):
                ids = [str(point.id) for point in listed.points]
                backend.require_shard(name, ids, listed.shard_key)
                backend.local.upsert(name, listed.points)
            case models.DeleteOperation(delete=models.PointIdsList() as listed):
                backend.require_shard(name, list(map(str, listed.points)), listed.shard_key)
                backend.local.delete(name, models.PointIdsList(points=listed.points))
            case models.DeleteOperation(delete=models.FilterSelector(filter=where)):
                backend.local.delete(name, models.FilterSelector(filter=where))
            case _:
                raise RefusedError(400, f"not known here: {operation}")
    return [done() for _ in body.operations]


@route("POST", "/collections/{name}/points", models.PointRequest)
def retrieve(backend: Backend, name: str, body: models.PointRequest) -> Any:
    return backend.local.retrieve(
        name,
        body.ids,
        with_payload=body.with_payload or False,
        with_vectors=body.with_vector or False,
    )


@route("POST", "/collections/{name}/points/scroll", models.ScrollRequest)
def scroll(backend: Backend, name: str, body: models.ScrollRequest) -> Any:
    points, following = backend.local.scroll(
        name,
        body.filter,
        limit=body.limit or 10,
        offset=body.offset,
        with_payload=body.with_payload or False,
        with_vectors=body.with_vector or False,
    )
    return models.ScrollResult(
        points=points, next_page_offset=str(following) if following else None
    )


@route("POST", "/collections/{name}/points/count", models.CountRequest)
def count(backend: Backend, name: str, body: models.CountRequest) -> Any:
    return backend.local.count(name, body.filter)


@route("POST", "/collections/{name}/facet", models.FacetRequest)
def facet(backend: Backend, name: str, body: models.FacetRequest) -> Any:
    if body.key not in backend.indexes[name]:
        raise RefusedError(400, f"no index for {body.key}")
    return backend.local.facet(name, body.key, body.filter, limit=body.limit or 10)


@route("POST", "/collections/{name}/points/query/batch", models.QueryRequestBatch)
def query(backend: Backend, name: str, body: models.QueryRequestBatch) -> Any:
    for search in body.searches:
        search.params = None  # Of no use in local mode, which would warn
    return backend.local.query_batch_points(name, body.searches)


def done() -> models.UpdateResult:
    return models.UpdateResult(operation_id=1, status=models.UpdateStatus.COMPLETED)


class Answer(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: "Server"  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        _, place, *rest = urlsplit(self.path).path.split("/")
        backend = self.server.backends[place]
        path = "/" + "/".join(rest)
        fault = self.server.fault(backend, f"{self.command} {path}")
        if fault is not None and fault.kind == "reset":
            return self.drop()
        if fault is not None and fault.kind == "slow":
            time.sleep(fault.seconds)
        if fault is not None and isinstance(fault.kind, int):
            headers = {"Retry-After": f"{fault.seconds:g}"} if fault.kind == 429 else {}
            return self.answer(fault.kind, {"status": {"error": "told to fail"}}, headers)
        status, content = self.work(backend, path, body)
        if fault is not None and fault.kind == "lost":
            return self.drop()
        return self.answer(status, content, {})

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any  # noqa: N815

    def work(self, backend: Backend, path: str, body: bytes) -> tuple[int, Any]:
        for method, pattern, adapter, handler in ROUTES:
            found = pattern.match(path)
            if method != self.command or found is None:
                continue
            backend.seen[f"{method} {handler.__name__}"] += 1
            options = parse_qs(urlsplit(self.path).query)
            backend.asked.append((handler.__name__, options, dict(self.headers)))
            try:
                parsed = adapter.validate_json(body, strict=True) if adapter else None
                with backend.lock:
                    name = found.groupdict().get("name", "")
                    real = name if handler in (create, drop) else backend.real(name)
                    result = handler(backend, real, parsed)
            except ValidationError as error:
                backend.wrong.append(f"{method} {path}: {error}")
                return 422, {"status": {"error": str(error)}}
            except RefusedError as error:
                status, reason = error.args
                return status, {"status": {"error": reason}}
            except ValueError as error:
                missing = "not found" in str(error)
                return (404 if missing else 400), {"status": {"error": str(error)}}
            return 200, result
        backend.wrong.append(f"no route for {self.command} {path}")
        return 404, {"status": {"error": "no such path"}}

    def answer(self, status: int, content: Any, headers: dict[str, str]) -> None:
        if status == 200 and not isinstance(content, models.VersionInfo):
            content = {"time": 0.0, "status": "ok", "result": plain(content)}
        body = json.dumps(plain(content)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def drop(self) -> None:
        linger = struct.pack("ii", 1, 0)  # So that the peer sees a reset
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()


def plain(content: Any) -> Any:
    if isinstance(content, BaseModel):
        return content.model_dump(mode="json", by_alias=True, exclude_none=True)
    return [plain(one) for one in content] if isinstance(content, list) else content


class Server(ThreadingHTTPServer):
    """Nodes of any number of clusters, each under a path of its own."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.backends: dict[str, Backend] = {}

    def url(self, place: str) -> str:
        """The address of a cluster, which is made when it is first asked for."""
        self.backends.setdefault(place, Backend())
        return f"http://127.0.0.1:{self.server_port}/{place}"

    def fault(self, backend: Backend, call: str) -> Fault | None:
        with backend.lock:
            for fault in backend.faults:
                if fault.times > 0 and fault.path in call:
                    fault.times -= 1
                    return fault
        return None


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Run a server."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            for backend in server.backends.values():
                backend.local.close()
