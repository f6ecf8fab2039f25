"""The distributed engine: a ``VectorStore`` on a Qdrant server or cluster.

Nothing outside this package imports qdrant-client, and it is imported only if the settings ask for
it.
"""
