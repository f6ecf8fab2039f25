"""Collections that the service keeps for itself while it makes or restores another one.

Their names are reserved: no request may use them and no list shows them.
"""

import hashlib
from collections.abc import Iterable

from app.errors import InvalidInputError
from app.retrieval.store import Collection

PREFIX = "tyntegra--"


def hidden_name(purpose: str, name: str) -> str:
    """Name the hidden collection that stands in for another one, such as for ``reindex``."""
    return f"{PREFIX}{purpose}-{hashlib.blake2b(name.encode(), digest_size=12).hexdigest()}"


def is_hidden(name: str) -> bool:
    """Tell whether a name is reserved."""
    return name.startswith(PREFIX)


def require_shown(name: str) -> str:
    """Return the name of a collection if it is not reserved.

    Raises:
        InvalidInputError: If it is.
    """
    if is_hidden(name):
        raise InvalidInputError(
            f"{name:.100} begins with {PREFIX}, which names what the service makes for itself and "
            "deletes again; give another name."
        )
    return name


def shown(collections: Iterable[Collection]) -> list[Collection]:
    """Leave out the hidden ones."""
    return [collection for collection in collections if not is_hidden(collection.name)]
