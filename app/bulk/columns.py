"""Rows to documents: which columns are id, text and language, and what the others become."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from app.bulk.parts import Row
from app.encoder.excerpt import is_visible
from app.errors import InvalidInputError
from app.retrieval.checks import require_document
from app.retrieval.documents import Document, MetadataValue
from app.retrieval.points import MAX_DOC_ID_BYTES
from app.retrieval.store import FieldType
from app.text.normalize import require_text
from app.text.script import LANG_PATTERN

IDS = ("doc_id", "id", "_id")
TEXTS = ("text", "content", "contents", "body", "passage", "document")
LANGS = ("lang",)
METADATA = "metadata"
"""A column of this name holds an object whose entries become metadata."""
_LANG = re.compile(LANG_PATTERN)
_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns are what; None: the first there is of the usual names, for metadata the rest.

    Attributes:
        doc_id: If it is named, no row may lack it; otherwise ids are made of file and row.
        text: What is searched.
        lang: Code such as ``swh_Latn``.
        metadata: Columns to keep.
        language: The language of rows that name none.
    """

    doc_id: str | None = None
    text: str | None = None
    lang: str | None = None
    metadata: tuple[str, ...] | None = None
    language: str | None = None

    @property
    def wanted(self) -> tuple[str, ...] | None:
        """All columns that are read; None: every one there is."""
        if self.metadata is None:
            return None
        ids = (self.doc_id,) if self.doc_id else IDS
        texts = (self.text,) if self.text else TEXTS
        langs = (self.lang,) if self.lang else LANGS
        return (*ids, *texts, *langs, *self.metadata)

    def require(self, path: str, names: Sequence[str] | None) -> None:
        """Check that a file has the columns that are needed.

        Raises:
            InvalidInputError: If it lacks one.
        """
        if names is None:
            return
        named = [self.doc_id, self.text, self.lang, *(self.metadata or ())]
        missing = [name for name in named if name is not None and name not in names]
        if self.text is None and not any(name in names for name in TEXTS):
            missing.append(TEXTS[0])
        if missing:
            raise InvalidInputError(
                f"{path} has no column {missing[0]!r:.80}; it has {', '.join(names)!s:.500}: name "
                "the right one with --text-column, --id-column, --lang-column or "
                "--metadata-columns."
            )


class RowError(Exception):
    """A row cannot become a document; says why."""


class Converter:
    """Makes documents of the rows of one file.

    Args:
        columns: Which columns are what.
        label: What made ids begin with.
        fields: The collection's declared fields.
        typed: Whether the values have types; otherwise strings are read as the fields say.

    Attributes:
        left_out: Columns whose values no metadata can hold, with how often.
    """

    def __init__(
        self, columns: Columns, label: str, fields: Mapping[str, FieldType], *, typed: bool
    ) -> None:
        self._columns = columns
        self._label = label
        self._fields = fields
        self._typed = typed
        self.left_out: Counter[str] = Counter()

    def document(self, row: Row) -> Document:
        """Make a document.

        Raises:
            RowError: If the row cannot be one.
        """
        if row.error:
            raise RowError(row.error)
        id_column, doc_id = self._pick(row, self._columns.doc_id, IDS)
        text_column, text = self._pick(row, self._columns.text, TEXTS)
        lang_column, lang = self._pick(row, self._columns.lang, LANGS)
        used = {id_column, text_column, lang_column}
        document = Document(
            self._doc_id(doc_id, row.number),
            self._text(text, text_column),
            self._lang(lang),
            self._metadata(row.values, used),
        )
        try:
            require_text(document.text)
            require_document(document, self._fields)
        except InvalidInputError as error:
            raise RowError(error.message) from None
        if not any(map(is_visible, document.text)):
            raise RowError("text has nothing but invisible characters; expected one that shows")
        return document

    @staticmethod
    def _pick(row: Row, named: str | None, usual: Sequence[str]) -> tuple[str, Any]:
        if named is not None:
            return named, row.values.get(named)
        for name in usual:
            if row.values.get(name) is not None:
                return name, row.values[name]
        return usual[0], None

    def _doc_id(self, value: Any, number: int) -> str:
        if value is None or value == "":
            if self._columns.doc_id is not None:
                raise RowError(f"has no {self._columns.doc_id}; expected an id in each row")
            return made_id(self._label, number)
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        raise RowError(f"has an id of type {type(value).__name__}; expected a string or integer")

    @staticmethod
    def _text(value: Any, column: str) -> str:
        if isinstance(value, str):
            return value
        if value is None:
            raise RowError(f"has no {column}; expected a text")
        raise RowError(f"has {column} of type {type(value).__name__}; expected a string")

    def _lang(self, value: Any) -> str | None:
        if value is None or value == "":
            return self._columns.language
        if not isinstance(value, str) or _LANG.fullmatch(value) is None:
            raise RowError(f"has lang {value!r:.40}; expected a code such as swh_Latn, or none")
        return value

    def _metadata(self, values: Mapping[str, Any], used: set[str]) -> dict[str, MetadataValue]:
        kept: dict[str, MetadataValue] = {}
        named = self._columns.metadata
        for name in values if named is None else named:
            value = values.get(name)
            if name in used or value is None or value == "":
                continue
            if name == METADATA:
                for key, entry in self._entries(value).items():
                    if entry is not None:
                        self._keep(kept, key, entry)
            else:
                self._keep(kept, name, value)
        return kept

    def _entries(self, value: Any) -> Mapping[str, Any]:
        if isinstance(value, str):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError:
                raise RowError("has metadata that is no JSON; expected an object") from None
        elif isinstance(value, list) and all(isinstance(pair, tuple) for pair in value):
            value = dict(value)  # Arrow's maps come as pairs
        if not isinstance(value, dict):
            raise RowError(f"has metadata of type {type(value).__name__}; expected an object")
        return value

    def _keep(self, kept: dict[str, MetadataValue], name: str, value: Any) -> None:
        if not self._typed and isinstance(value, str) and name in self._fields:
            value = _cast(value, name, self._fields[name])
        if isinstance(value, str | int | float):
            kept[name] = value
        elif self._columns.metadata is None:
            self.left_out[name] += 1
        else:
            kind = type(value).__name__
            raise RowError(f"has {name} of type {kind}; expected a string, number or boolean")


def made_id(label: str, number: int) -> str:
    """Make the id of a row that has none; the same for the same row of the same file."""
    whole = f"{label}:{number}"
    if len(whole.encode()) <= MAX_DOC_ID_BYTES:
        return whole
    digest = blake2b(label.encode(), digest_size=16).hexdigest()
    return f"{digest}:{number}"


def _cast(value: str, name: str, declared: FieldType) -> MetadataValue:
    try:
        if declared == "integer":
            return int(value)
        if declared == "number":
            number = json.loads(value)
            if isinstance(number, int | float) and not isinstance(number, bool):
                return number
            raise ValueError
        if declared == "boolean":
            return _TRUTHS[value.strip().lower()]
    except (ValueError, KeyError):
        raise RowError(f"has {name} {value!r:.40}; expected {declared}") from None
    return value
