"""What the service tells its operator: Prometheus metrics and one JSON line a log record.

No text of a request, no document id and no key ever reaches a log or a label: routes are logged by
their template, errors by their kind and place. Importing this module also switches off the
telemetry that ONNX Runtime sends by itself, so it is imported before anything that loads it.
"""

import json
import logging
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# They double the size of the answer and say when a process began, which one metric says already.
disable_created_metrics()

LOGGER = logging.getLogger("app")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Cache(Protocol):
    """What a cache of vectors counts; see ``app.encoder.cache.VectorCache``."""

    hits: int
    misses: int
    evictions: int
    bytes: int


class Metrics:
    """The service's metrics in a registry of their own, so that two services fit in a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.requests = Counter(
            "tyntegra_http_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "tyntegra_http_request_seconds",
            "Seconds from a request's headers to the end of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "tyntegra_http_requests_in_flight", "Requests being answered.", registry=self.registry
        )
        self.shed = Counter(
            "tyntegra_shed",
            "Requests refused for lack of room.",
            ["reason"],
            registry=self.registry,
        )
        self.tokens = Counter(
            "tyntegra_tokens", "Tokens of texts answered.", ["route"], registry=self.registry
        )
        self.texts = Counter("tyntegra_texts", "Texts answered.", ["route"], registry=self.registry)
        self.truncated = Counter(
            "tyntegra_truncated_texts", "Texts cut to the model's length.", registry=self.registry
        )
        self.probe_queries = Counter(
            "tyntegra_probe_queries", "Texts that probes tried.", registry=self.registry
        )
        self.ready = Gauge(
            "tyntegra_ready", "1 while the service takes requests.", registry=self.registry
        )
        self.encoder = Gauge(
            "tyntegra_encoder_info",
            "1 for the encoder in use.",
            ["model", "provider", "precision"],
            registry=self.registry,
        )

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a gauge that is read when the metrics are."""
        self.registry.register(_Watched(lambda: GaugeMetricFamily(name, text, value=read())))

    def watch_count(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a counter that is read when the metrics are."""
        self.registry.register(_Watched(lambda: CounterMetricFamily(name, text, value=read())))

    def watch_cache(self, cache: "Cache | None") -> None:
        """Add what a cache of vectors counts; nothing if there is none."""
        if cache is None:
            return
        self.watch_count("tyntegra_cache_hits", "Texts found in the cache.", lambda: cache.hits)
        self.watch_count(
            "tyntegra_cache_misses", "Texts not found in the cache.", lambda: cache.misses
        )
        self.watch_count(
            "tyntegra_cache_evictions", "Vectors dropped for newer ones.", lambda: cache.evictions
        )
        self.watch("tyntegra_cache_bytes", "Bytes that the cache takes.", lambda: cache.bytes)

    def render(self) -> bytes:
        """Write all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Watched(Collector):
    def __init__(self, read: Callable[[], Metric]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        yield self._read()


class JsonLines(logging.Formatter):
    """Log records as JSON, one a line: time, level, event, and the fields given as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record; an exception as its type and places, without its message."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = describe_exception(record.exc_info[1])
        return json.dumps(line, default=str)


def describe_exception(error: BaseException) -> str:
    """Name an exception and the places it passed, without its message, which may hold a text."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    places = " < ".join(f"{f.filename}:{f.lineno}:{f.name}" for f in reversed(frames))
    cause = error.__cause__ or error.__context__
    after = f" after {type(cause).__name__}" if cause is not None else ""
    return f"{type(error).__name__}{after} at {places}"


class Sparing(logging.Filter):
    """Lets each kind of warning pass once in a while and counts those left out in between.

    What a stranger sends must not decide how much is written: every malformed request is a warning
    of the server's.
    """

    def __init__(self, every_s: float = 10.0) -> None:
        super().__init__()
        self._every_s = every_s
        self._last: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to write a record."""
        if record.levelno != logging.WARNING:
            return True
        # By its template, of which there are few.
        written, left_out = self._last.get(record.msg, (-math.inf, 0))
        if record.created - written < self._every_s:
            self._last[record.msg] = (written, left_out + 1)
            return False
        self._last[record.msg] = (record.created, 0)
        if left_out:
            record.fields = {"left_out": left_out}
        return True


def configure_logging(level: str) -> None:
    """Send the service's and the server's log records to standard error as JSON lines."""
    target = logging.StreamHandler(sys.stderr)
    target.setFormatter(JsonLines())
    for name, least in ((LOGGER.name, level), ("uvicorn", max_level(level, "warning"))):
        logger = logging.getLogger(name)
        logger.handlers[:] = [target]
        logger.setLevel(least.upper())
        logger.propagate = False
    errors = logging.getLogger("uvicorn.error")
    errors.setLevel(logging.NOTSET)
    errors.filters[:] = [Sparing()]


def max_level(*levels: str) -> str:
    """The quietest of some level names."""
    return max(levels, key=lambda name: logging.getLevelNamesMapping()[name.upper()])


def log(level: int, event: str, **fields: object) -> None:
    """Write one structured line."""
    LOGGER.log(level, event, extra={"fields": fields})
