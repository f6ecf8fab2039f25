"""What every engine must do: names, options, declared fields, conflicts and what is refused."""

import pytest

from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.retrieval.documents import Document
from app.retrieval.filters import METADATA, In, Range, languages
from app.retrieval.store import MAX_FIELDS, FieldType, Options

from .contract_data import BAD_NAMES, DIM, vectors_of

FIELDS: dict[str, FieldType] = {
    "year": "integer",
    "size": "number",
    "tag": "string",
    "open": "boolean",
}
OPTIONS = Options("int8", "passage: ", FIELDS, 128, 96)


def calls(store, name, folder):
    return (
        lambda: store.create(name, DIM, "m", Options()),
        lambda: store.upsert(name, [Document("a", "b")], vectors_of(1), [[(0, 1)]]),
        lambda: store.delete_where(name, languages("eng_Latn")),
        lambda: store.count(name, languages("eng_Latn")),
        lambda: store.scan(name),
        lambda: store.languages(name),
        lambda: store.size_bytes(name),
        lambda: store.replace(name, "demo"),
        lambda: store.replace("demo", name),
        lambda: store.match(name, ["a"], 1),
        lambda: store.search(name, vectors_of(1), 1, None, offset=1, exact=True),
        lambda: store.snapshot(name, folder),
        lambda: store.restore(name, folder / "none"),
    )


@pytest.mark.parametrize("name", BAD_NAMES)
def test_any_newer_call_with_a_bad_name_is_refused(steady, tmp_path, name):
    for call in calls(steady, name, tmp_path / "copies"):
        with pytest.raises(InvalidInputError, match="collection name"):
            call()
    assert [c.name for c in steady.collections()] == ["demo"]
    assert list(tmp_path.rglob("*")) == []


def test_any_newer_call_on_a_missing_collection_says_so(steady, tmp_path):
    for call in calls(steady, "none", tmp_path)[1:-1]:
        with pytest.raises(NotFoundError, match="none"):
            call()
    assert steady.count("demo") == 60


def test_options_are_told_by_create_describe_and_list(store):
    made = store.create("demo", DIM, "m", OPTIONS)
    assert made.options == OPTIONS
    assert store.describe("demo") == made == store.collections()[0]
    assert store.create("demo", DIM, "m", OPTIONS) == made
    assert store.create("plain", DIM, "m").options == Options()


@pytest.mark.parametrize(
    "other",
    [
        Options("full", "passage: ", FIELDS, 128, 96),
        Options("int8", "", FIELDS, 128, 96),
        Options("int8", "passage: ", {**FIELDS, "year": "number"}, 128, 96),
        Options("int8", "passage: ", {"year": "integer"}, 128, 96),
        Options("int8", "passage: ", FIELDS, 256, 96),
        Options("int8", "passage: ", FIELDS, 128, 128),
        Options(),
    ],
)
def test_create_with_other_options_conflicts(store, other):
    store.create("demo", DIM, "m", OPTIONS)
    with pytest.raises(ConflictError, match="demo"):
        store.create("demo", DIM, "m", other)
    assert store.describe("demo").options == OPTIONS


def test_precision_and_prompt_that_are_not_known_fit_any(store):
    store.create("known", DIM, "m", Options("full", "passage: "))
    assert store.create("known", DIM, "m", Options()).options == Options("full", "passage: ")
    store.create("unknown", DIM, "m", Options())
    assert store.create("unknown", DIM, "m", Options("full", "x: ")).options == Options()


@pytest.mark.parametrize(
    "options",
    [
        Options(precision="fp4"),
        Options(prompt="\ud800"),
        Options(window_tokens=10),
        Options(window_tokens=10, stride_tokens=11),
        Options(stride_tokens=1),
        Options(window_tokens=-1, stride_tokens=-1),
        Options(fields={"": "string"}),
        Options(fields={"\ud800": "string"}),
        Options(fields={"year": "date"}),  # pyright: ignore[reportArgumentType]
        Options(fields={f"f{i}": "string" for i in range(MAX_FIELDS + 1)}),
    ],
)
def test_create_with_impossible_options_is_refused(steady, options):
    with pytest.raises(InvalidInputError):
        steady.create("other", DIM, "m", options)
    assert [c.name for c in steady.collections()] == ["demo"]


@pytest.fixture(scope="module")
def declared(open_store, tmp_path_factory):
    store = open_store(tmp_path_factory.mktemp("declared"))
    store.create("demo", DIM, "m", Options(fields=FIELDS))
    yield store
    store.close()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("year", 1.0),
        ("year", "1990"),
        ("year", True),
        ("year", 2**63),
        ("year", -(2**63) - 1),
        ("size", "1.5"),
        ("size", False),
        ("size", 10**309),
        ("tag", 7),
        ("tag", True),
        ("open", 1),
        ("open", "true"),
    ],
)
def test_upsert_value_of_another_type_refuses_the_whole_call(declared, field, value):
    documents = [Document("good", "text"), Document("bad", "text", None, {field: value})]
    with pytest.raises(InvalidInputError, match=field):
        declared.upsert("demo", documents, vectors_of(2))
    assert declared.get("demo", ["good", "bad"]) == []


def test_upsert_values_of_the_declared_types_come_back_and_are_found(declared):
    values = [
        {"year": 2**63 - 1, "size": 1e308, "tag": "", "open": False},
        {"year": -(2**63), "size": -5, "tag": "1", "open": True, "free": "1"},
        {"year": 2**53 + 1, "size": 2**53 + 1, "tag": "é.[0]\"'\\ \n"},
        {"year": 0, "size": -0.0, "tag": "x" * 3000},
        {},
    ]
    documents = [Document(f"v{i}", "text", None, value) for i, value in enumerate(values)]
    declared.upsert("demo", documents, vectors_of(5))
    found = declared.get("demo", [f"v{i}" for i in range(5)])
    assert found == documents
    assert [[type(v) for v in d.metadata.values()] for d in found] == [
        [type(v) for v in d.metadata.values()] for d in documents
    ]
    for document in documents:
        for key, value in document.metadata.items():
            where = In(METADATA + key, (value,))
            hits = declared.search("demo", vectors_of(1), 10, where)[0]
            assert [hit.document for hit in hits] == [document], (key, value)
    assert declared.count("demo", Range("metadata.year", gt=2**53, lt=2**53 + 2)) == 1
    assert declared.count("demo", Range("metadata.size", gte=-5, lte=0)) == 2
    declared.delete("demo", [document.doc_id for document in documents])


def test_reopened_collection_keeps_its_options(open_store, tmp_path):
    store = open_store(tmp_path)
    store.create("demo", DIM, "m", OPTIONS)
    store.close()
    again = open_store(tmp_path)
    try:
        assert again.describe("demo").options == OPTIONS
        with pytest.raises(InvalidInputError, match="year"):
            again.upsert("demo", [Document("a", "b", None, {"year": "x"})], vectors_of(1))
    finally:
        again.close()
