"""The server engine: a ``VectorStore`` in PostgreSQL with pgvector.

Nothing outside this package imports psycopg, and it is imported only if the settings ask for it.
"""
