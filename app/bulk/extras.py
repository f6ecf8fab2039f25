"""The libraries that only bulk work needs: imported when they are, or missing in one line."""

import importlib
from types import ModuleType

from app.errors import InvalidInputError


def need(module: str, purpose: str) -> ModuleType:
    """Import a library of the extra ``bulk``.

    Args:
        module: The module.
        purpose: What it is needed for, such as ``Parquet files``.

    Raises:
        InvalidInputError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InvalidInputError(
            f"{purpose} need {module.partition('.')[0]}, which cannot be imported ({error}): "
            "install the project with its extra, as in pip install '.[bulk]'."
        ) from None
