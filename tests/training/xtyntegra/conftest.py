from pathlib import Path

import pytest

from training.corpus import CorpusError, data_folder


@pytest.fixture(scope="session")
def real() -> Path:
    """The data folder; skips where there is none."""
    try:
        return data_folder()
    except CorpusError as error:
        pytest.skip(str(error))
