"""Collections that the service keeps for itself while it makes or restores another one.

Their names are reserved: no request may use them and no list shows them.
"""

import hashlib
from collections.abc import Iterable

from app.retrieval.store import Collection

PREFIX = "tyntegra--"


def hidden_name(purpose: str, name: str) -> str:
    """Name the hidden collection that stands in for another one, such as for ``reindex``."""
    return f"{PREFIX}{purpose}-{hashlib.blake2b(name.encode(), digest_size=12).hexdigest()}"


def is_hidden(name: str) -> bool:
    """Tell whether a name is reserved."""
    return name.startswith(PREFIX)


def shown(collections: Iterable[Collection]) -> list[Collection]:
    """Leave out the hidden ones."""
    return [collection for collection in collections if not is_hidden(collection.name)]
