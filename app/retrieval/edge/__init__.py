"""The embedded engine, on Qdrant Edge: collections in directories, in this process."""

from app.retrieval.edge.store import EdgeStore

__all__ = ["EdgeStore"]
