"""Other services that a request may name: those that the operator allows, and no others."""

from app.errors import InvalidInputError
from app.settings import Settings


def require_allowed(endpoint: str, name: str, settings: Settings) -> None:
    """Refuse a service that is not among TYNTEGRA_PROBE_ENDPOINTS.

    Args:
        endpoint: As the request names it.
        name: Of its field.
        settings: Has the services that may be asked.

    Raises:
        InvalidInputError: If it is not one of them.
    """
    allowed = settings.probe_endpoints
    if endpoint.rstrip("/") not in allowed:
        raise InvalidInputError(
            f"{name} is none of the {len(allowed)} services that may be asked; expected "
            "one of TYNTEGRA_PROBE_ENDPOINTS, as it is written there."
        )
