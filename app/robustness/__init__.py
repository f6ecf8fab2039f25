"""How a retriever breaks: goals, attack search, statistics, report."""
