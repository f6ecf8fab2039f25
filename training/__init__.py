"""Corpus -> hybrid batches -> robust loss -> checkpoint."""
