"""XTYNTEGRA: zero-shot retrieval across languages, clean, attacked and certified."""
