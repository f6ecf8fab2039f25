"""``tyntegra probe``: try to lead queries astray, wait for it, and fail where too many are.

Exit status: 0 done, 1 refused, failed or not finished, 3 more queries broken than --fail-over.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.commands.service import add_service_options, open_client, show
from app.errors import InvalidInputError

if TYPE_CHECKING:
    from app.client import Client

FAILED, OVER = 1, 3
REPLAY = "probe replay"
"""Of the command: two words, which the command line joins before it looks for it."""
_POLL_S = 0.5
_KEPT = ("query_id", "attack", "outcome", "relevant", "adversarial_text", "edits", "worst_rank")
_KEPT += ("success", "lang")


def add_probe_options(parser: argparse.ArgumentParser) -> None:
    """Add what a probe can ask for beside its texts."""
    parser.add_argument("--collection", default="demo", help="where to search (demo)")
    parser.add_argument("--attack", action="append", help="only this attack; may be repeated")
    parser.add_argument("--lang", help="the queries' language, such as swh_Latn")
    parser.add_argument("--edits", type=int, default=2, help="edits of a query, at most (2)")
    parser.add_argument(
        "--queries", type=int, default=64, help="texts tried a query and attack (64)"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds in all (20)")
    parser.add_argument("--top-k", type=int, default=10, help="hits that count (10)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (0)")
    parser.add_argument(
        "--with",
        dest="more",
        metavar="JSON",
        help="further fields of the request, as in "
        '\'{"constraints": {"min_language": 0.5}, "search": {"method": "beam"}}\'',
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--job", action="store_true", help="begin a job, print it, and do not wait")
    how.add_argument("--wait", action="store_true", help="begin a job, and wait for its report")
    _add_limit(parser)


def add_replay(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command that tries a report's texts again."""
    description = "try a report's adversarial texts again, to fail a build"
    parser = commands.add_parser(REPLAY, help=description, description=description)
    parser.set_defaults(run=_replay)
    add_service_options(parser)
    parser.add_argument("report", metavar="REPORT.json", help="what a probe answered; -: stdin")
    parser.add_argument("--collection", default="demo", help="where to search (demo)")
    parser.add_argument("--top-k", type=int, help="hits that count (as in the report)")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds in all (20)")
    _add_limit(parser)


def _add_limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fail-over",
        type=_share,
        metavar="SHARE",
        help="exit with 3 if more of the queries are broken, such as 0.2",
    )


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError("expected a share from 0 to 1")
    return value


def run_probe_command(options: argparse.Namespace, texts: Sequence[str]) -> int:
    """Probe texts as a command's options say; returns the exit status."""
    lang: Mapping[str, str] = {"lang": options.lang} if options.lang else {}
    body: dict[str, Any] = {
        "collection": options.collection,
        "queries": [
            {"query_id": f"q{number}", "text": text, **lang} for number, text in enumerate(texts, 1)
        ],
        "attacks": options.attack,
        "budget": {"edits": options.edits, "queries": options.queries, "seconds": options.seconds},
        "top_k": options.top_k,
        "seed": options.seed,
    }
    body |= _more(options.more, body)
    if options.job and options.fail_over is not None:
        raise InvalidInputError("--job does not wait, so --fail-over has nothing to judge; --wait.")
    if options.job or options.wait:
        body["background"] = True
    with open_client(options) as client:
        answer = client.probe(body)
        if "job_id" in answer and not options.job:  # too large to be answered at once
            answer = _wait(client, answer)
    show(answer)
    if options.job:
        return 0
    return _judge(answer, answer["summary"]["attack_success_rate"], options.fail_over)


def _more(text: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
    """Read further fields of a request; those that have an option of their own are not among them.

    Raises:
        InvalidInputError: If it is no JSON object, or has one of them.
    """
    try:
        more = {} if text is None else json.loads(text)
        fields = dict(more.items())
    except (ValueError, AttributeError, RecursionError):
        raise InvalidInputError(
            '--with is no JSON object; expected one such as {"constraints": {"min_language": 0.5}}.'
        ) from None
    if twice := sorted(fields.keys() & body.keys()):
        raise InvalidInputError(
            f"--with has {', '.join(twice)}; expected fields that no other option or argument "
            "sets: use those instead."
        )
    return fields


def _wait(client: "Client", job: Mapping[str, Any]) -> dict[str, Any]:
    name = job["job_id"]
    print(f"tyntegra: probe job {name}; it goes on if you leave", file=sys.stderr)
    while job["state"] in ("queued", "running"):
        time.sleep(_POLL_S)
        job = client.probe_job(name)
        if job["progress"] and sys.stderr.isatty():
            told = job["progress"]
            rate = told["success_rate"]
            line = f"\r{told['stage']}: {told['tried']} texts, {rate['successes']} of {rate['n']}"
            print(f"{line} queries broken", end="", file=sys.stderr, flush=True)
    if job["brief"] is None:
        raise InvalidInputError(f"Probe job {name} is {job['state']}: {job['error']}")
    return client.probe_report(name)


def _replay(options: argparse.Namespace) -> int:
    report = _read(options.report)
    body: dict[str, Any] = {"collection": options.collection, "seconds": options.seconds}
    body["report"] = {
        "results": [{name: result[name] for name in _KEPT} for result in report["results"]],
        "top_k": options.top_k or report["top_k"],
        "goal": report.get("goal"),
    }
    with open_client(options) as client:
        answer = client.replay(body)
    show(answer)
    return _judge(answer, answer["attack_success_rate"], options.fail_over)


def _read(name: str) -> dict[str, Any]:
    try:
        content = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
        report = json.loads(content)
        if not all(result.keys() >= set(_KEPT) for result in report["results"]):
            raise ValueError
        report["top_k"].bit_length()
    except OSError as error:
        raise InvalidInputError(f"{name} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InvalidInputError(
            f"{name} is no report of a probe; expected the JSON that `tyntegra probe` printed."
        ) from None
    return report


def _judge(answer: Mapping[str, Any], rate: Mapping[str, Any], most: float | None) -> int:
    if most is None:
        return 0
    if rate["value"] is not None and rate["value"] > most:
        bounds = f"95% interval {rate['low']:.3f} to {rate['high']:.3f}"
        print(
            f"tyntegra: {rate['successes']} of {rate['n']} queries are broken ({rate['value']:.3f},"
            f" {bounds}), over {most:g}",
            file=sys.stderr,
        )
        return OVER
    if rate["value"] is None or answer["status"] != "complete":
        reason = answer["reason"] or "No query was eligible."
        print(f"tyntegra: nothing can be vouched for: {reason}", file=sys.stderr)
        return FAILED
    return 0
