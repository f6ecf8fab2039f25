"""The file in which a collection travels between engines: Parquet that other tools read as well.

A row is a document: ``doc_id``, ``text``, ``lang``, ``metadata`` (JSON), ``passages`` (where each
begins and ends) and ``vectors`` (one for each). Model and options stand in the schema's metadata,
counts and checksum in the footer, which is written last: a file without them is not whole.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.bulk.checksum import Checksum
from app.bulk.extras import need
from app.errors import InvalidInputError
from app.retrieval.checks import require_collection
from app.retrieval.documents import Document, Span
from app.retrieval.store import Collection, Options

FORMAT = 1
HEAD, SUMS = b"tyntegra", b"tyntegra.checksum"
PURPOSE = "Parquet files"


@dataclass(frozen=True, slots=True)
class Rows:
    """Some documents with the vectors of their passages, shape (passages, dim)."""

    documents: list[Document]
    spans: list[list[Span]]
    vectors: NDArray[np.float32]


def schema_of(collection: Collection) -> Any:
    """The Arrow schema of a collection's file."""
    arrow = need("pyarrow", PURPOSE)
    head = {
        "format": FORMAT,
        "name": collection.name,
        "dimensions": collection.dim,
        "model": collection.model,
        "options": asdict(collection.options) | {"fields": dict(collection.options.fields)},
    }
    passage = arrow.struct([("begin", arrow.int32()), ("end", arrow.int32())])
    return arrow.schema(
        [
            arrow.field("doc_id", arrow.string(), nullable=False),
            arrow.field("text", arrow.string(), nullable=False),
            ("lang", arrow.string()),
            arrow.field("metadata", arrow.string(), nullable=False),
            arrow.field("passages", arrow.list_(passage), nullable=False),
            arrow.field(
                "vectors", arrow.list_(arrow.list_(arrow.float32(), collection.dim)), nullable=False
            ),
        ],
        metadata={HEAD: json.dumps(head)},
    )


def to_table(schema: Any, rows: Rows, dim: int) -> Any:
    """Lay out documents as a table of the schema."""
    arrow = need("pyarrow", PURPOSE)
    offsets = np.cumsum([0, *map(len, rows.spans)], dtype=np.int32)
    ends = np.array([span for some in rows.spans for span in some], np.int32).reshape(-1, 2)
    fields = schema.field("passages").type.value_type
    passages = arrow.StructArray.from_arrays(
        [arrow.array(ends[:, 0]), arrow.array(ends[:, 1])], fields=list(fields)
    )
    flat = arrow.array(np.ascontiguousarray(rows.vectors, np.float32).reshape(-1))
    vectors = arrow.FixedSizeListArray.from_arrays(flat, dim)
    columns = [
        arrow.array([document.doc_id for document in rows.documents]),
        arrow.array([document.text for document in rows.documents]),
        arrow.array([document.lang for document in rows.documents], arrow.string()),
        arrow.array([_json(document) for document in rows.documents]),
        arrow.ListArray.from_arrays(arrow.array(offsets), passages),
        arrow.ListArray.from_arrays(arrow.array(offsets), vectors),
    ]
    return arrow.Table.from_arrays(
        [column.cast(f.type) for column, f in zip(columns, schema, strict=True)], schema=schema
    )


class ExportFile:
    """A file that an export wrote.

    Attributes:
        path: Where it is.
        collection: What it holds, as it was described.
        checksum: What its documents must sum up to.

    Args:
        path: The file.

    Raises:
        InvalidInputError: If it is no sound export.
    """

    def __init__(self, path: Path) -> None:
        self._parquet = need("pyarrow.parquet", PURPOSE)
        self._broken = (need("pyarrow", PURPOSE).ArrowException, OSError)
        self.path = path
        try:
            metadata = self._parquet.read_metadata(path)
            schema = metadata.schema.to_arrow_schema()
            self._groups = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
            self.collection, self.checksum = _read_head(schema, metadata.metadata or {})
            if schema.remove_metadata() != schema_of(self.collection).remove_metadata():
                raise ValueError("its columns are not those of an export")
        except FileNotFoundError:
            raise InvalidInputError(f"There is no file {path}; check its name.") from None
        except (*self._broken, ValueError) as error:
            raise self._unsound(error) from None

    @property
    def groups(self) -> list[int]:
        """How many documents each row group has."""
        return self._groups

    def read(self, group: int) -> Rows:
        """Read a row group.

        Raises:
            InvalidInputError: If it is damaged.
        """
        try:
            with self._parquet.ParquetFile(
                self.path, memory_map=True, page_checksum_verification=True
            ) as file:
                return _rows(file.read_row_group(group, use_threads=False), self.collection.dim)
        except (*self._broken, ValueError, KeyError, TypeError) as error:
            raise self._unsound(error) from None

    def verify(self) -> None:
        """Read all of it and compare it with its checksum.

        Raises:
            InvalidInputError: If it is damaged.
        """
        found = Checksum(self.collection.dim)
        for group in range(len(self._groups)):
            rows = self.read(group)
            found.add(rows.documents, rows.spans, rows.vectors)
        if found.compare(self.checksum) != "identical":
            raise self._unsound(
                ValueError(
                    f"it holds {found.documents} documents of {found.passages} passages that do "
                    f"not sum up to its checksum over {self.checksum.documents} of "
                    f"{self.checksum.passages}"
                )
            )

    def _unsound(self, error: BaseException) -> InvalidInputError:
        reason = " ".join(str(error).split())
        return InvalidInputError(
            f"{self.path} is no sound export ({reason:.300}); nothing of it can be trusted: export "
            "the collection again."
        )


def _read_head(schema: Any, footer: dict[bytes, bytes]) -> tuple[Collection, Checksum]:
    written = (schema.metadata or {}).get(HEAD) or footer.get(HEAD)
    if written is None or SUMS not in footer:
        raise ValueError("it has no metadata of an export")
    try:
        head = json.loads(written)
        if head["format"] != FORMAT:
            raise ValueError(f"its format is {head['format']!r:.20}, this version reads {FORMAT}")
        options = Options(**head["options"])
        dim, model, name = head["dimensions"], head["model"], head["name"]
        require_collection(name, dim, model, options)
        checksum = Checksum.from_json(dim, json.loads(footer[SUMS]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its metadata has no sound {error}") from None
    except InvalidInputError as error:
        raise ValueError(error.message) from None
    return Collection(name, dim, model, checksum.documents, options), checksum


def _rows(table: Any, dim: int) -> Rows:
    columns = {name: table.column(name).combine_chunks() for name in table.column_names}
    plain = [columns[name].to_pylist() for name in ("doc_id", "text", "lang", "metadata")]
    documents = [
        Document(doc_id, text, lang, json.loads(metadata))
        for doc_id, text, lang, metadata in zip(*plain, strict=True)
    ]
    spans = [[(p["begin"], p["end"]) for p in some] for some in columns["passages"].to_pylist()]
    flat = columns["vectors"].flatten().flatten().to_numpy(zero_copy_only=False)
    vectors = flat.astype(np.float32, copy=False).reshape(-1, dim)
    if len(vectors) != sum(map(len, spans)):
        raise ValueError("it has not one vector for each passage")
    return Rows(documents, spans, vectors)


def _json(document: Document) -> str:
    return json.dumps(dict(document.metadata), ensure_ascii=False)


def slices(rows: Rows, size: int) -> Iterator[Rows]:
    """Cut documents in parts of at most ``size``."""
    ends: Sequence[int] = np.cumsum([0, *map(len, rows.spans)]).tolist()
    for first in range(0, len(rows.documents), size):
        last = min(first + size, len(rows.documents))
        yield Rows(
            rows.documents[first:last],
            rows.spans[first:last],
            rows.vectors[ends[first] : ends[last]],
        )
