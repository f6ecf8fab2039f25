"""Which requests bring a body without end: other bounds hold for them, here and in the protocol."""

import re

NDJSON = "application/x-ndjson"
_PATH = re.compile(r"/collections/[^/]+/documents")


def is_stream(method: str, path: str, content_type: str) -> bool:
    """Tell whether a request brings a body that is read as it is worked off.

    Args:
        method: Its method.
        path: Its path, without a query.
        content_type: Its Content-Type header.
    """
    if method != "POST" or content_type.partition(";")[0].strip().lower() != NDJSON:
        return False
    return _PATH.fullmatch(path) is not None
