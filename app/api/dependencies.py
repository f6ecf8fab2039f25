"""What routes ask for: the service, open or in whatever phase."""

from typing import Annotated

from fastapi import Depends, Path, Request

from app.api.state import Service
from app.api.wire import COLLECTION_NAME, CollectionName


async def any_service(request: Request) -> Service:
    """The service in whatever phase it is."""
    return request.app.state.service


async def open_service(request: Request) -> Service:
    """The service with encoder and store open, or a NotReadyError."""
    service: Service = request.app.state.service
    service.require_open()
    return service


AnyService = Annotated[Service, Depends(any_service)]
OpenService = Annotated[Service, Depends(open_service)]
Name = Annotated[
    CollectionName,
    Path(pattern=COLLECTION_NAME, description="name of the collection", examples=["demo"]),
]
