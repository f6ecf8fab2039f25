"""No body, however malformed, is answered with a server error or sent back."""

import gzip
import json
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from app.api.bodies import parse_json
from app.errors import InvalidInputError

CANARY = "canary-7b1f"
LONE = "\\ud800"

VALID: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/embed"): {
        "inputs": [CANARY],
        "input_type": "query",
        "truncate": True,
        "dimensions": 8,
        "encoding_format": "float",
    },
    ("POST", "/search"): {
        "collection": "a",
        "queries": [CANARY],
        "top_k": 3,
        "filter": {"lang": ["eng_Latn"]},
    },
    ("POST", "/collections/a/documents"): {
        "documents": [
            {"doc_id": "d", "text": CANARY, "lang": "eng_Latn", "metadata": {"n": 1.5}},
        ]
    },
    ("POST", "/probe/adversarial"): {
        "collection": "a",
        "queries": [{"query_id": "q", "text": CANARY, "lang": "eng_Latn", "relevant": ["d"]}],
        "attacks": ["typo"],
        "budget": {"edits": 1, "queries": 2, "seconds": 1},
        "top_k": 3,
        "seed": 0,
    },
    ("PUT", "/collections/a"): {},
}


def fields_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in items:
        yield (*path, key)
        if isinstance(child, dict | list):
            yield from fields_of(child, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], raw: str) -> str:
    """The JSON text of a value with raw text in the place of one part."""
    mark = "@@here@@"
    copy = json.loads(json.dumps(value))
    target = copy
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = mark
    return json.dumps(copy, ensure_ascii=False).replace(f'"{mark}"', raw)


RAW_VALUES = [
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000, "-" + "9" * 5000),
    *(f'"{LONE}"', f'["{LONE}"]', f'{{"{LONE}": 1}}', f'{{"{CANARY}{LONE}": "{LONE}"}}'),
    *("null", "true", "[]", "{}", '""', "0", "-1", "1.0", "1e2", "01", "+1", ".5", "0x10", "'a'"),
    *('"\\u0000"', '"\x01"', f'"{CANARY}', "[" * 1000 + "]" * 1000, "[" * 100_000),
    *('{"a":' * 5000 + "1" + "}" * 5000, f'["{CANARY}"] x', "18446744073709551616", '"\\uD83D"'),
    *('"\\x41"', "undefined", f"[{','.join(['1'] * 10_000)}]", '"' + CANARY * 2000 + '"'),
    *('{"lang": "eng_Latn", "lang": "swh_Latn"}', "/* */ 1", "[1,]", '{"a":1,}', '"\ufeff"'),
]


def whole_bodies(valid: dict[str, Any]) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Bodies that are wrong as a whole: name, bytes, headers."""
    text = json.dumps(valid | {"canary_field": CANARY})
    plain = json.dumps(valid)
    kind = {"Content-Type": "application/json"}
    yield "empty object", b"{}", kind
    yield "not an object", b"[1]", kind
    yield "a string", json.dumps(CANARY).encode(), kind
    yield "null", b"null", kind
    yield "white space", b" \n\t", kind
    yield "bom", b"\xef\xbb\xbf" + plain.encode(), kind
    yield "utf-16", plain.encode("utf-16"), kind
    yield "utf-16-le", plain.encode("utf-16-le"), kind
    yield "utf-32", plain.encode("utf-32"), kind
    yield "latin-1", b'{"inputs": "\xe9"}', kind
    yield "bad utf-8", b'{"inputs": "\xc3\x28\xf0\x28\x8c\x28"}', kind
    yield "surrogate in utf-8", b'{"inputs": "\xed\xa0\x80"}', kind
    yield "overlong utf-8", b'{"inputs": "\xc0\x80"}', kind
    yield "gzip", gzip.compress(plain.encode()), kind | {"Content-Encoding": "gzip"}
    yield "gzip undeclared", gzip.compress(plain.encode()), kind
    yield "deflate declared", plain.encode(), kind | {"Content-Encoding": "deflate"}
    yield "unknown field", text.encode(), kind
    yield "two objects", (plain + plain).encode(), kind
    yield "cut short", plain.encode()[:-1] or b"{", kind
    yield "deep array", b"[" * 100_000 + b"]" * 100_000, kind
    yield "deep object", b'{"a":' * 100_000, kind
    yield "repeated key", (plain[:-1] + ', "x": 1, "x": 2}').replace("{, ", "{").encode(), kind
    yield "lone surrogate key", (f'{{"{LONE}": 1}}').encode(), kind
    yield "long integer", b"9" * 5000, kind
    yield "nul bytes", b"\x00" * 100, kind
    yield "random bytes", random.Random(1).randbytes(300), kind
    yield (
        "form",
        b"inputs=" + CANARY.encode(),
        {"Content-Type": "application/x-www-form-urlencoded"},
    )
    yield (
        "multipart",
        b"--x\r\n\r\n" + CANARY.encode(),
        {"Content-Type": "multipart/form-data; boundary=x"},
    )
    yield "text", plain.encode() or b"x", {"Content-Type": "text/plain"}
    yield "no type", plain.encode(), {}
    yield "wrong charset", plain.encode(), {"Content-Type": "application/json; charset=utf-16"}
    yield "type with nonsense", plain.encode(), {"Content-Type": "application/json/x;;=;\x7f"}
    yield "large", b" " * 1_100_000, kind


def mutated(body: bytes, seed: int) -> bytes:
    """A body with a few bytes changed, cut, doubled or moved."""
    draw = random.Random(seed)
    data = bytearray(body)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(data) or 1)
        match draw.randrange(5):
            case 0:
                data[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                del data[at : at + draw.randint(1, 8)]
            case 2:
                data[at:at] = data[at : at + draw.randint(1, 20)]
            case 3:
                data[at:at] = draw.choice(RAW_VALUES)[:200].encode("utf-8", "surrogatepass")
            case _:
                data[at:at] = draw.choice(b'{}[]",:\\').to_bytes(1, "little")
    return bytes(data)


async def send(running: Any, endpoint: tuple[str, str], body: bytes, headers: Any) -> Any:
    method, path = endpoint
    response = await running.client.request(method, path, content=body, headers=headers)
    assert response.status_code < 500, (endpoint, body[:200], response.text[:300])
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        assert CANARY not in response.text
        assert len(response.content) < 8000
        assert response.json()["instance"].startswith("urn:tyntegra:request:")
    return response


async def prepare(running: Any) -> None:
    await running.client.put("/collections/a")
    documents = {"documents": [{"doc_id": "d", "text": "some text", "lang": "eng_Latn"}]}
    await running.client.post("/collections/a/documents", json=documents)


@pytest.mark.anyio
@pytest.mark.parametrize("endpoint", VALID, ids=lambda endpoint: endpoint[1])
async def test_valid_body_of_each_endpoint_is_taken(start: Any, endpoint: Any) -> None:
    async with start() as running:
        await prepare(running)
        response = await running.client.request(*endpoint, json=VALID[endpoint])
    assert response.status_code == 200, response.text


@pytest.mark.anyio
@pytest.mark.parametrize("endpoint", VALID, ids=lambda endpoint: endpoint[1])
async def test_body_wrong_as_a_whole_is_refused(start: Any, endpoint: Any) -> None:
    names = set()
    async with start() as running:
        await prepare(running)
        for name, body, headers in whole_bodies(VALID[endpoint]):
            response = await send(running, endpoint, body, headers)
            names.add(name)
            # Where the body may be left out, nothing and an empty object are as good.
            fine = endpoint[0] == "PUT" and name in ("empty object", "null")
            assert (response.status_code == 200) == fine, (name, response.text)
    assert len(names) >= 24


@pytest.mark.anyio
@pytest.mark.parametrize("endpoint", VALID, ids=lambda endpoint: endpoint[1])
async def test_body_with_a_wrong_part_is_never_a_server_error(start: Any, endpoint: Any) -> None:
    statuses: dict[int, int] = {}
    async with start() as running:
        await prepare(running)
        for path in fields_of(VALID[endpoint]):
            for raw in RAW_VALUES:
                body = replaced(VALID[endpoint], path, raw).encode("utf-8", "surrogatepass")
                headers = {"Content-Type": "application/json"}
                status = (await send(running, endpoint, body, headers)).status_code
                statuses[status] = statuses.get(status, 0) + 1
    if endpoint[0] == "POST":
        assert statuses[422] > 100
        assert set(statuses) <= {200, 404, 413, 422}


@pytest.mark.anyio
@pytest.mark.parametrize("endpoint", VALID, ids=lambda endpoint: endpoint[1])
async def test_mutated_body_is_never_a_server_error(start: Any, endpoint: Any) -> None:
    plain = json.dumps(VALID[endpoint]).encode()
    async with start() as running:
        await prepare(running)
        for seed in range(400):
            headers = {"Content-Type": "application/json"}
            await send(running, endpoint, mutated(plain, seed), headers)


@pytest.mark.parametrize(
    "raw",
    [
        *(b"NaN", b"[1e999]", b"-Infinity", b'{"a":1,"a":1}', b"9" * 20, b"\xff", b"[" * 10_000),
        *(b"", b"\xef\xbb\xbf1", "1".encode("utf-16"), b"[1,]", b"1 2"),
    ],
)
def test_parse_json_refuses_what_json_is_not(raw: bytes) -> None:
    with pytest.raises(InvalidInputError):
        parse_json(raw)


def test_parse_json_reads_what_json_is() -> None:
    text = '{"a": [1, -9223372036854775808, 1.5e-400, true, null, "\\u00e9\\ud83d\\ude00é"]}'
    assert parse_json(text.encode()) == {"a": [1, -(2**63), 0.0, True, None, "é😀é"]}


def test_parse_json_worst_case_of_a_megabyte_is_quick() -> None:
    bodies = [b"[" + b"{}," * 340_000 + b"{}]", b'{"' + b"\\u00e9" * 170_000 + b'":1}']
    bodies += [b"[" + b"1," * 500_000 + b"1]", b"[" + b"1.5," * 250_000 + b"1]"]
    for body in bodies:
        began = time.process_time()
        parse_json(body)
        assert time.process_time() - began < 2.0
