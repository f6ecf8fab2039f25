"""Sources of others -> the small tables in ``app/text/tables``."""
