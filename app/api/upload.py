"""Lines of JSON to stored documents: checked one by one, encoded and stored by batches, in order.

While a batch is stored the next ones are encoded and one more is read; nothing is read beyond that,
so the client is held back by how fast the encoder is. A line that is refused costs only itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from app.api.adding import (
    MOST_PASSAGES,
    ChangedError,
    Filled,
    Ready,
    clean_document,
    encode_ready,
    find_writable,
    split,
    store_filled,
)
from app.api.bodies import parse_json
from app.api.document import DocumentWire
from app.api.lines import Line
from app.api.problems import STATUSES, describe_fields
from app.api.state import Service
from app.errors import InvalidInputError, OverloadedError, ServiceError, TooLargeError
from app.retrieval.store import Collection

T = TypeVar("T")
PATIENCE_S = 60.0
"""How long a batch waits for room in a queue before the upload ends."""
REFUSED = (InvalidInputError, TooLargeError)
"""What is wrong with a document, and not with the service."""


@dataclass(frozen=True, slots=True)
class Good:
    """A document of a line, with its normalized text."""

    line: int
    sent: DocumentWire
    text: str


@dataclass(slots=True)
class Batch:
    """What became of some lines.

    Attributes:
        last: Number of the last of them.
        good: Documents that may be stored.
        refused: What is wrong with the others, by line.
        filled: The documents with their vectors, in parts that are stored one after the other.
        collection: What the collection is by now, if it changed meanwhile.
    """

    last: int
    good: list[Good]
    refused: dict[int, dict[str, Any]]
    filled: list[tuple[list[Good], Filled]] = field(default_factory=list)
    collection: Collection | None = None


def describe_refusal(error: ServiceError) -> dict[str, Any]:
    """Write an error as the answer to a single document would have it."""
    code = error.code if error.code in STATUSES else "internal"
    status = STATUSES[code][0]
    return {"type": f"urn:tyntegra:problem:{code}", "status": status, "detail": error.message}


async def encode_lines(service: Service, collection: Collection, lines: Sequence[Line]) -> Batch:
    """Check lines, and encode the documents of those that are right.

    Raises:
        ServiceError: If the encoder fails, or has no room for long.
    """
    batch = await asyncio.to_thread(_check, service, collection, lines)
    if batch.good:
        await _fill(service, collection, batch, batch.good)
    return batch


async def _fill(service: Service, collection: Collection, batch: Batch, good: list[Good]) -> None:
    try:
        ready = await asyncio.to_thread(_split, service, collection, good)
        if len(good) > 1 and len(ready.passages) > MOST_PASSAGES:
            half = len(good) // 2
            await _fill(service, collection, batch, good[:half])
            await _fill(service, collection, batch, good[half:])
            return
        filled = await _patiently(lambda: encode_ready(service, ready))
    except REFUSED as error:
        if len(good) == 1:
            batch.refused[good[0].line] = describe_refusal(error)
            return
        for one in good:  # to find out which it is
            await _fill(service, collection, batch, [one])
        return
    batch.filled.append((good, filled))


async def store_batch(
    service: Service, collection: Collection, batch: Batch
) -> tuple[int, list[int]]:
    """Store the documents of a batch; durable on return.

    Returns:
        How many lines were stored, and those of which only the beginning can be found.

    Raises:
        ServiceError: If the store fails, has no room for long, or is closed to writers.
    """
    try:
        return await _store(service, collection, batch)
    except ChangedError:  # a reindex ended meanwhile
        again = batch.collection = await find_writable(service, collection.name)
        filled, batch.filled = batch.filled, []
        for good, _ in filled:
            await _fill(service, again, batch, good)
        return await _store(service, again, batch)


async def _store(service: Service, collection: Collection, batch: Batch) -> tuple[int, list[int]]:
    stored, truncated = 0, list[int]()
    for good, filled in batch.filled:
        try:
            await _patiently(lambda filled=filled: store_filled(service, collection, filled))
        except REFUSED as error:
            if len(good) == 1:
                batch.refused[good[0].line] = describe_refusal(error)
                continue
            alone = Batch(batch.last, good, batch.refused)
            for one in good:
                await _fill(service, collection, alone, [one])
            more = await _store(service, collection, alone)
            stored, truncated = stored + more[0], truncated + more[1]
            continue
        stored += len(good)
        cut = set(filled.truncated)
        truncated += [one.line for one in good if one.sent.doc_id in cut]
    return stored, truncated


def _check(service: Service, collection: Collection, lines: Sequence[Line]) -> Batch:
    batch = Batch(lines[-1].number, [], {})
    for line in lines:
        if line.content is not None and not line.content.strip():
            continue
        try:
            sent = _parse(line, service.settings.max_body_bytes)
            text = clean_document(sent, collection, service.settings, "")
        except ValidationError as error:
            found = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
            detail, fields = describe_fields(found)
            refusal = describe_refusal(InvalidInputError(detail))
            batch.refused[line.number] = refusal | {"errors": fields}
        except REFUSED as error:
            batch.refused[line.number] = describe_refusal(error)
        else:
            batch.good.append(Good(line.number, sent, text))
    return batch


def _parse(line: Line, most_bytes: int) -> DocumentWire:
    if line.content is None:
        raise TooLargeError(
            f"The line has more than {most_bytes} bytes; expected a document a line: split it, or "
            "raise TYNTEGRA_MAX_BODY_BYTES."
        )
    try:
        parsed = parse_json(line.content)
    except InvalidInputError as error:
        raise InvalidInputError(error.message.replace("The body", "The line", 1)) from None
    return DocumentWire.model_validate(parsed)


def _split(service: Service, collection: Collection, good: Sequence[Good]) -> Ready:
    sent, texts = [one.sent for one in good], [one.text for one in good]
    return split(service, collection, sent, texts, "documents")


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Do work again while there is no room for it: others go first, and nobody is sent away."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while True:
        try:
            return await work()
        except OverloadedError as error:
            if loop.time() > deadline:
                raise
            await asyncio.sleep(min(error.retry_after_s, 1.0))
