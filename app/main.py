"""The application: ``create_app(settings)`` wires lifespan, middlewares, routes and errors.

Run it with ``tyntegra serve``, or under a server of your choice with
``uvicorn --factory app.main:create_app``.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware import Middleware

from app import __version__, telemetry
from app.api import (
    collections,
    compare,
    docs,
    documents,
    embed,
    health,
    jobs,
    many,
    openai,
    openai_errors,
    probe,
    problems,
    reindex,
    replay,
    search,
    snapshots,
)
from app.api.encoder import Encoder
from app.api.envelope import Envelope
from app.api.limits import BodyLimit
from app.api.security import HostCheck, KeyCheck, load_keys
from app.api.state import START_UP_FAILED, Openers, Service
from app.errors import InvalidInputError
from app.opening import open_store, open_text_encoder
from app.settings import Settings
from app.text.lexicon import load_lexicon

DESCRIPTION = "Text search across languages, and a measure of how far it can be trusted."


def open_encoder(settings: Settings) -> Encoder:
    """Open the encoder that the settings ask for; blocking."""
    if settings.dictionaries:
        _read_dictionaries(settings.dictionaries)  # now, so that a faulty one ends the start
    return open_text_encoder(settings)


def _read_dictionaries(path: Path) -> None:
    try:
        load_lexicon(path)
    except InvalidInputError as error:
        raise InvalidInputError(f"TYNTEGRA_DICTIONARIES: {error.message}") from error


def create_app(
    settings: Settings | None = None,
    *,
    openers: Openers = Openers(open_encoder, open_store),  # noqa: B008  # two functions, immutable
) -> FastAPI:
    """Build the application; nothing is opened before its lifespan begins.

    Args:
        settings: The settings; read from the environment if left out.
        openers: How to open encoder and store.
    """
    try:
        settings = settings or Settings.from_env(os.environ)
        keys = load_keys(settings.keys) if settings.keys else None
    except InvalidInputError as error:
        sys.stderr.write(f"tyntegra: {error.message}\n")
        raise SystemExit(START_UP_FAILED) from None
    telemetry.configure_logging(settings.log)
    service = Service(settings, openers)
    guards = [Middleware(KeyCheck, keys=keys)] if keys else []
    app = FastAPI(
        title="Tyntegra",
        version=__version__,
        description=DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        middleware=[
            Middleware(Envelope, metrics=service.metrics, traffic=service.traffic),
            Middleware(HostCheck, settings=settings),
            *guards,
            Middleware(BodyLimit, max_bytes=settings.max_body_bytes),
        ],
    )
    app.state.service = service
    for resource in (embed, openai, search, collections, reindex, snapshots):
        app.include_router(resource.router)
    app.include_router(documents.adding)
    for resource in (many, documents, probe, jobs, replay, compare, health, docs):
        app.include_router(resource.router)
    problems.install(app)
    app.openapi = lambda: _openapi(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    opening = asyncio.create_task(service.start())
    try:
        yield
    finally:
        service.drain()
        await opening
        await service.stop()


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for model in (problems.Problem, openai_errors.OpenAIError):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs"))
            schemas[model.__name__] = schema
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for path, operations in document["paths"].items():
            if path.startswith(openai_errors.PREFIX):  # FastAPI's own, which is a 400 there
                for operation in operations.values():
                    operation["responses"].pop("422", None)
        app.openapi_schema = document
    return app.openapi_schema
