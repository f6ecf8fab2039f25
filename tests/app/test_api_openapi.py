"""The API against its own OpenAPI document, by generated requests."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

pytestmark = pytest.mark.slow

EXAMPLES = 12
"""For each of the operations and each mode: some 350 requests in all."""


@pytest.fixture(scope="module")
def app(start_module: Any) -> Iterator[FastAPI]:
    """A service that is ready, its lifespan kept open in another thread."""
    ready, done = threading.Event(), threading.Event()
    apps: list[FastAPI] = []

    async def run() -> None:
        async with start_module(hosts="localhost,testserver") as running:
            await running.client.put("/collections/demo")
            documents = [{"doc_id": "a", "text": "some text", "lang": "eng_Latn"}]
            await running.client.post("/collections/demo/documents", json={"documents": documents})
            apps.append(running.app)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(30)
    yield apps[0]
    done.set()
    thread.join(30)


def without_lifespan(app: FastAPI) -> Any:
    """The application, whose lifespan is in other hands: the client would end it."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})

    return answer


# Threads that other tests left behind may use the random module meanwhile.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_api_conforms_to_its_openapi_document(app: FastAPI, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", without_lifespan(app))
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert len(operations) >= 35
    for operation in operations:
        takes_nothing = not [*operation.body, *operation.path_parameters]
        takes_anything = operation.path == "/v1/models/{model}"
        if mode is GenerationMode.NEGATIVE and (takes_nothing or takes_anything):
            continue  # there is no wrong way to ask
        strategy: st.SearchStrategy[Case] = operation.as_strategy(generation_mode=mode)

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=[
                HealthCheck.too_slow,
                HealthCheck.filter_too_much,
                HealthCheck.data_too_large,
            ],
        )
        @given(strategy)
        def check(case: Case) -> None:
            # What a text must be (visible, Unicode, not too long) is more than a schema says.
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        check()
