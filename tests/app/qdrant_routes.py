"""What a Qdrant server answers, over qdrant-client's local mode; ``qdrant_server.py`` serves it.

What local mode leaves out (shards, indexes) is kept here as far as errors go.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter
from qdrant_client import QdrantClient, models

Handler = Callable[["Backend", str, Any], Any]


class RefusedError(Exception):
    """What the server would refuse, with the status."""


@dataclass
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: A status to answer, ``reset`` (drop the connection unread), ``lost`` (do the work and
            drop the connection), ``half`` (do the first operation of a batch and drop it),
            ``slow`` (wait before answering) or ``junk`` (answer what is no JSON).
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
    before: dict[str, Callable[[], object]] = field(default_factory=dict)
    half: bool = False
    red: str = ""
    title: str = "qdrant - vector search engine"

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
    return models.VersionInfo(title=backend.title, version="1.20.0")


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
    info = backend.local.get_collection(name)
    if backend.red:
        info.status = models.CollectionStatus.RED
        info.optimizer_status = models.OptimizersStatusOneOf1(error=backend.red)
    return info


@route("DELETE", "/collections/{name}")
def drop(backend: Backend, name: str, body: Any) -> Any:
    return backend.local.delete_collection(name)


@route("PUT", "/collections/{name}/index", models.CreateFieldIndex)
def index(backend: Backend, name: str, body: models.CreateFieldIndex) -> Any:
    backend.local.get_collection(name)
    schema = body.field_schema
    kind = schema if isinstance(schema, models.PayloadSchemaType) else schema.type  # pyright: ignore
    backend.indexes.setdefault(name, {})[body.field_name] = kind.value  # pyright: ignore
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
    for operation in body.operations[:1] if backend.half else body.operations:
        match operation:
            case models.UpsertOperation(upsert=models.PointsList() as listed):
                ids = [str(point.id) for point in listed.points]
                backend.require_shard(name, ids, listed.shard_key)
                backend.local.upsert(name, listed.points)
            case models.DeleteOperation(delete=models.PointIdsList() as listed):
                backend.require_shard(name, list(map(str, listed.points)), listed.shard_key)
                backend.local.delete(name, models.PointIdsList(points=listed.points))
            case models.DeleteOperation(delete=models.FilterSelector() as chosen):
                keys = chosen.shard_key or []
                if set(keys if isinstance(keys, list) else [keys]) != backend.shards.get(
                    name, set()
                ):
                    raise RefusedError(400, f"{keys} are not all shards of {name}")
                backend.local.delete(name, models.FilterSelector(filter=chosen.filter))
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
