"""Which collections there are on the server, under which names, and how one takes another's place.

    alias       tyntegra.demo                        what we call demo; all that others may rely on
    collection  tyntegra.demo.4f2c9a61b0d3           where its points are; named once for good

A collection exists when its alias does: the alias is made last and removed first, and moves from
one collection to another in one step. What the collection was created with stands in its metadata.
Collections without an alias are left by a crash, and swept when they are a day old.
"""

import logging
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from app.errors import NotFoundError, ServiceError, StoreError
from app.retrieval.payload import WORDS, index_paths
from app.retrieval.qdrant.nodes import Cluster, GoneError, Nodes
from app.retrieval.store import Options

FORMAT = 1
TOKENS = "t"
"""The payload's tokens, by which the passages that have them are counted."""
_HNSW_M = 16
_HNSW_EF_CONSTRUCT = 128
_ORPHANED_S = 86_400.0
"""Longer than a large snapshot takes to come in."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """One collection on the server.

    Attributes:
        name: What we call it.
        physical: What the server calls it.
        dim: Length of its vectors.
        model: The encoder.
        options: What else it was created with.
        shards: Names of its shards, if documents are sent to them by name.
        trouble: What the server says is wrong with it, such as a full disk; mostly empty.
    """

    name: str
    physical: str
    dim: int
    model: str
    options: Options
    shards: tuple[str, ...]
    trouble: str = ""


class Names:
    """Creates, finds, exchanges and deletes collections."""

    def __init__(self, nodes: Nodes, cluster: Cluster) -> None:
        self._nodes = nodes
        self._cluster = cluster

    def aliases(self) -> dict[str, str]:
        """Map our names to collections on the server."""
        found = self._nodes.call("listing collections", lambda client: client.get_aliases())
        return {
            alias.alias_name.removeprefix(self._alias("")): alias.collection_name
            for alias in found.aliases
            if alias.alias_name.startswith(self._alias(""))
        }

    def find(self, name: str) -> Target:
        """Find a collection.

        Raises:
            NotFoundError: If there is none.
            StoreError: If it was not created by us, or by a newer version.
        """
        try:
            info = self._nodes.call(
                f"looking up {name}", lambda client: client.get_collection(self._alias(name))
            )
        except GoneError:
            raise NotFoundError(f"There is no collection {name}; create it first.") from None
        target = _target(name, (info.config.metadata or {}).get("tyntegra"))
        if info.status == models.CollectionStatus.RED:
            trouble = f"The server calls it red: {info.optimizer_status!s:.300}. See its log."
            return replace(target, trouble=trouble)
        return target

    def make(self, name: str, dim: int, model: str, options: Options) -> Target:
        """Create a collection on the server that has no alias yet."""
        physical = f"{self._alias(name)}.{uuid.uuid4().hex[:12]}"
        spread = self._cluster.shards > 1
        shards = tuple(f"s{i}" for i in range(self._cluster.shards)) if spread else ()
        target = Target(name, physical, dim, model, options, shards)
        self._nodes.call(f"creating {name}", lambda client: self._create(client, target))
        for path, kind in index_paths(list(options.fields)).items() | {(TOKENS, "integer")}:
            self._nodes.call(
                f"indexing {path} of {name}",
                lambda client, path=path, kind=kind: client.create_payload_index(
                    physical, path, field_schema=_schema(path, kind), wait=True
                ),
            )
        return target

    def point(self, name: str, physical: str | None, *, instead_of: str | None = None) -> None:
        """Give a name to a collection, and take away another name, in one step.

        Args:
            name: The name.
            physical: The collection; None: the name is to be free.
            instead_of: A name that is to be free then.
        """
        wanted = {name: physical}
        if instead_of is not None:
            wanted[instead_of] = None

        def switch(client: QdrantClient) -> None:
            there = {a.alias_name: a.collection_name for a in client.get_aliases().aliases}
            changes: list[models.AliasOperations] = []
            for alias, collection in wanted.items():
                has = there.get(self._alias(alias))
                if has is not None and has != collection:
                    gone = models.DeleteAlias(alias_name=self._alias(alias))
                    changes.append(models.DeleteAliasOperation(delete_alias=gone))
                if collection is not None and has != collection:
                    made = models.CreateAlias(
                        collection_name=collection, alias_name=self._alias(alias)
                    )
                    changes.append(models.CreateAliasOperation(create_alias=made))
            if changes:
                client.update_collection_aliases(changes)

        self._nodes.call(f"naming {name}", switch)

    def remove(self, physical: str) -> None:
        """Delete a collection that has no name any more; what fails is left to ``sweep``."""
        try:
            self._nodes.call(
                f"deleting {physical}", lambda client: client.delete_collection(physical)
            )
        except NotFoundError:
            return
        except ServiceError as error:
            _log.warning("%s is left on the server: %s", physical, error.message)

    def sweep(self) -> None:
        """Delete collections of ours that a crash has left without a name."""
        ours = re.compile(rf"{re.escape(self._alias(''))}[a-z0-9_-]+\.[0-9a-f]{{12}}")
        listed = self._nodes.call("listing collections", lambda client: client.get_collections())
        named = set(self.aliases().values())
        for found in listed.collections:
            if ours.fullmatch(found.name) is None or found.name in named:
                continue
            try:
                info = self._nodes.call(
                    "looking for leftovers",
                    lambda client, name=found.name: client.get_collection(name),
                )
            except NotFoundError:
                continue
            written = (info.config.metadata or {}).get("tyntegra", {}).get("created", 0)
            if time.time() - float(written) > _ORPHANED_S:
                self.remove(found.name)

    def _alias(self, name: str) -> str:
        return f"{self._cluster.prefix}.{name}"

    def _create(self, client: QdrantClient, target: Target) -> None:
        cluster = self._cluster
        own = asdict(target) | {"format": FORMAT, "created": time.time()}
        try:
            client.create_collection(
                target.physical,
                vectors_config=models.VectorParams(size=target.dim, distance=models.Distance.DOT),
                sparse_vectors_config={WORDS: models.SparseVectorParams()},
                shard_number=1,
                sharding_method=models.ShardingMethod.CUSTOM if target.shards else None,
                replication_factor=cluster.replicas,
                write_consistency_factor=cluster.write_replicas or cluster.replicas,
                hnsw_config=models.HnswConfigDiff(m=_HNSW_M, ef_construct=_HNSW_EF_CONSTRUCT),
                # It might forbid filters on fields that are not indexed.
                strict_mode_config=models.StrictModeConfig(enabled=False),
                metadata={"tyntegra": own},
            )
        except UnexpectedResponse as error:
            if error.status_code != 409:  # It is there, by a call whose answer was lost
                raise
        there = client.list_shard_keys(target.physical).shard_keys if target.shards else None
        made = {key.key for key in there or []}
        for shard in target.shards:
            if shard not in made:
                client.create_shard_key(
                    target.physical,
                    shard,
                    shards_number=1,
                    replication_factor=cluster.replicas,
                )


def _schema(path: str, kind: str) -> models.PayloadSchemaType | models.IntegerIndexParams:
    """Say how a path is indexed; the graph gets links along languages, scripts and declared fields.

    Tokens are looked up; all other whole numbers are compared by ranges.
    """
    if kind == "keyword":
        return models.PayloadSchemaType.KEYWORD
    return models.IntegerIndexParams(
        type=models.IntegerIndexType.INTEGER,
        lookup=path == TOKENS,
        range=path != TOKENS,
        enable_hnsw=path.startswith("h."),
    )


def _target(name: str, own: Mapping[str, Any] | None) -> Target:
    if own is None or own.get("format") != FORMAT:
        raise StoreError(
            f"The collection {name} on the Qdrant server was not made by this version; drop it, or "
            "choose another TYNTEGRA_QDRANT_PREFIX."
        )
    return Target(
        name,
        own["physical"],
        own["dim"],
        own["model"],
        Options(**own["options"]),
        tuple(own["shards"]),
    )
