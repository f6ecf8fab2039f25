"""Logs: JSON lines, exceptions without their messages."""

import json
import logging

from app.telemetry import JsonLines, Metrics, Sparing, describe_exception, max_level


def raised() -> ValueError:
    try:
        try:
            raise KeyError("canary")
        except KeyError as inner:
            raise ValueError("canary") from inner
    except ValueError as error:
        return error


def test_describe_exception_names_kind_and_place_but_no_message() -> None:
    described = describe_exception(raised())
    assert described.startswith("ValueError after KeyError at ")
    assert "test_telemetry.py" in described
    assert "canary" not in described


def test_log_record_is_one_json_line() -> None:
    error = raised()
    record = logging.LogRecord(
        "app", logging.ERROR, "f", 1, "an\nevent %d", (7,), (type(error), error, None)
    )
    record.fields = {"route": "/embed", "seconds": 0.5}
    written = JsonLines().format(record)
    line = json.loads(written)
    assert "\n" not in written
    assert (line["level"], line["event"], line["route"]) == ("error", "an\nevent 7", "/embed")
    assert line["error"].startswith("ValueError")
    assert "canary" not in written


def test_max_level_is_the_quieter() -> None:
    assert max_level("info", "warning") == "warning"
    assert max_level("error", "warning") == "error"


def test_metrics_of_two_services_do_not_share_counts() -> None:
    one, other = Metrics(), Metrics()
    one.shed.labels("store").inc()
    assert b'tyntegra_shed_total{reason="store"} 1.0' in one.render()
    assert b'reason="store"' not in other.render()


def test_sparing_lets_a_kind_of_warning_pass_once_in_a_while() -> None:
    sparing = Sparing(every_s=10)

    def passes(message: str, at_s: float, level: int = logging.WARNING) -> bool:
        record = logging.LogRecord("uvicorn.error", level, "f", 1, message, (), None)
        record.created = at_s
        passed = sparing.filter(record)
        said.append(getattr(record, "fields", None))
        return passed

    said: list[object] = []
    assert [passes("malformed", at_s) for at_s in (100, 100, 109.9, 110, 111, 121)] == [
        True,
        False,
        False,
        True,
        False,
        True,
    ]
    assert said == [None, None, None, {"left_out": 2}, None, {"left_out": 1}]
    assert passes("another", 121)
    assert passes("malformed", 121, logging.ERROR)
