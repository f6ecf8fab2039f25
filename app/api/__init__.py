"""The HTTP API: one module a resource; the only place that knows FastAPI and status codes."""
