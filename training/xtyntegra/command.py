"""``tyntegra bench``: run the benchmark, compare runs.

    tyntegra bench xtyntegra app/default/encoder --out runs/bench/default
    tyntegra bench compare runs/bench/default runs/bench/other --out runs/bench/compared

Exit status: 0 done, 1 the reader of the output left, 2 refused or failed, 130 interrupted; what is
interrupted goes on when the same command is given again.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from app.errors import ServiceError
from training.registry import CorpusError, data_folder
from training.xtyntegra import own
from training.xtyntegra.compare import Options, write_comparison
from training.xtyntegra.encoders import Opening
from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.outline import outline_of, outline_of_comparison
from training.xtyntegra.plan import Plan, full_plan, quick_plan, with_task
from training.xtyntegra.resampling import Drawing
from training.xtyntegra.run import Request, run_benchmark
from training.xtyntegra.tasks import CORE, TASKS

CUT_OFF, UNUSABLE, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], str] = options.run
    try:
        sys.stdout.write(run(options) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CUT_OFF
    except (BenchmarkError, CorpusError, ServiceError, OSError) as error:
        sys.stderr.write(f"tyntegra bench: {' '.join(str(error).split())}\n")
        return UNUSABLE
    except KeyboardInterrupt:
        sys.stderr.write("tyntegra bench: interrupted; the same command goes on from here\n")
        return INTERRUPTED
    return 0


def _run(options: argparse.Namespace) -> str:
    tasks = _tasks(options)
    plan = _plan(options)
    if plan is not None and options.own is not None:
        plan = with_task(plan, own.NAME, own.SETTINGS)
    request = Request(
        source=options.encoder,
        out=options.out,
        data=_data(options, tasks),
        tasks=tasks,
        languages=options.languages,
        own=options.own,
        plan=plan,
        perturbed=options.perturbed or options.out.parent / "perturbed",
        accept_changed=options.accept_changed,
        drawing=Drawing(seed=options.seed, resamples=options.resamples),
        opening=Opening(
            device=options.device,
            precision=options.precision,
            pooling=options.pooling,
            max_tokens=options.max_tokens,
            model=options.model,
            prompts=_prompts(options),
            key=options.key,
        ),
        name=options.name,
    )
    result = run_benchmark(request)
    return outline_of(result) + f"\n\n{options.out / 'report.html'}"


def _tasks(options: argparse.Namespace) -> list[str]:
    """Name what is measured: what was asked for; else one's own texts, or what comes along."""
    tasks: list[str] = options.tasks or ([] if options.own else list(CORE))
    named = any(task.partition("/")[0] == own.NAME for task in tasks)
    return [*tasks, own.NAME] if options.own and not named else tasks


def _data(options: argparse.Namespace, tasks: Sequence[str]) -> Path:
    """Find the corpora; one's own texts alone need none."""
    if options.data is None and any(task.partition("/")[0] != own.NAME for task in tasks):
        return data_folder()
    return options.data or options.own


def _compare(options: argparse.Namespace) -> str:
    drawing = Drawing(seed=options.seed, resamples=options.resamples)
    found = write_comparison(options.runs, options.out, Options(drawing, options.q))
    where = f"\n\n{options.out / 'comparison.html'}" if options.out else ""
    return outline_of_comparison(found) + where


def _plan(options: argparse.Namespace) -> Plan | None:
    """Make the plan of attacks that the options ask for; None: no attack at all."""
    if options.attacks == ["none"]:
        return None
    plan = (full_plan if options.full else quick_plan)(options.languages)
    changes = {
        "families": tuple(options.attacks) if options.attacks else None,
        "edits": tuple(options.edits) if options.edits else None,
        "draws": options.draws,
        "queries": options.queries,
        "epsilons": () if options.no_white_box else None,
        "smoothing": 0.0 if options.no_white_box else None,
        "seed": options.seed or None,
    }
    return replace(plan, **{name: value for name, value in changes.items() if value is not None})


def _prompts(options: argparse.Namespace) -> dict[str, str]:
    given = {"query": options.query_prompt, "document": options.document_prompt}
    return {role: prompt for role, prompt in given.items() if prompt}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tyntegra bench", description="Measure encoders.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands)
    compare = commands.add_parser("compare", help="compare runs; the first is the baseline")
    compare.set_defaults(run=_compare)
    compare.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs")
    compare.add_argument(
        "--out", type=Path, metavar="DIR", help="write comparison.json, .html here"
    )
    compare.add_argument("--q", type=float, default=0.05, help="share of false discoveries (0.05)")
    _add_drawing(compare)
    return parser


def _add_run(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    run = commands.add_parser("xtyntegra", help="retrieval across languages, clean and attacked")
    run.set_defaults(run=_run)
    run.add_argument(
        "encoder", help="folder of an artifact, checkpoint or encoder; URL of a service"
    )
    run.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder")
    run.add_argument("--name", help="of the encoder in titles; else its own")
    run.add_argument("--data", type=Path, metavar="DIR", help="the corpora (TYNTEGRA_DATA)")
    what = run.add_argument_group("what is measured; lists by commas")
    tasks = f"of {', '.join(TASKS)}, or a setting as flores200/to-english ({', '.join(CORE)})"
    what.add_argument("--tasks", type=_listed, metavar="LIST", help=tasks)
    what.add_argument("--languages", type=_listed, default=[], metavar="LIST", help="FLORES codes")
    what.add_argument(
        "--own", type=Path, metavar="DIR", help="your own corpus.jsonl, queries.jsonl, qrels.tsv"
    )
    _add_attacks(run)
    opening = run.add_argument_group("how the encoder is opened")
    opening.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    opening.add_argument("--precision", default="auto", help="of an artifact")
    opening.add_argument("--pooling", choices=("mean", "cls", "last"), help="of plain transformers")
    opening.add_argument("--max-tokens", type=int, metavar="N", help="where a folder cuts texts")
    opening.add_argument("--model", help="model behind another service's /v1/embeddings")
    opening.add_argument("--query-prompt", default="", help="put before its queries")
    opening.add_argument("--document-prompt", default="", help="put before its documents")
    opening.add_argument("--key", default=os.environ.get("TYNTEGRA_KEY"), help="(TYNTEGRA_KEY)")
    _add_drawing(run)


def _add_attacks(run: argparse.ArgumentParser) -> None:
    attacks = run.add_argument_group("attacks")
    size = attacks.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="some languages, some queries (default)")
    size.add_argument("--full", action="store_true", help="all of them, for hours")
    attacks.add_argument(
        "--attacks", type=_listed, metavar="LIST", help="families; none: no attack"
    )
    attacks.add_argument("--edits", type=_numbers, metavar="LIST", help="budgets, rising")
    attacks.add_argument("--draws", type=int, metavar="N", help="texts for each query and budget")
    attacks.add_argument("--queries", type=int, metavar="N", help="of a cell that are attacked")
    attacks.add_argument("--no-white-box", action="store_true", help="nothing from the inside")
    attacks.add_argument("--perturbed", type=Path, metavar="DIR", help="attacked queries, shared")
    attacks.add_argument(
        "--accept-changed", action="store_true", help="go on with other attacked queries"
    )


def _add_drawing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="of attacks and intervals (0)")
    parser.add_argument("--resamples", type=_resamples, default=2000, help="of intervals (2000)")


def _listed(text: str) -> list[str]:
    found = [part.strip() for part in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name; expected names by commas")
    return found


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers, such as 1,2") from None


def _resamples(text: str) -> int:
    if not text.isdecimal() or int(text) < 200:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 200 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
