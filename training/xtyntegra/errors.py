"""What can go wrong in the benchmark beside its corpora (``training.registry.CorpusError``)."""


class BenchmarkError(ValueError):
    """A run cannot begin or go on; the message says what, why and what to do, in one line."""
