"""Documents and vectors in, hits out: the VectorStore seam, its engines, and metrics."""
