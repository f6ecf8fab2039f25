"""What all commands share that ask a service that runs."""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from app.settings import PREFIX

if TYPE_CHECKING:
    from app.client import Client

DEFAULT_URL = "http://127.0.0.1:8000"


def add_service_options(parser: argparse.ArgumentParser) -> None:
    """Let a command say which service it asks, with which key, and for how long."""
    url = os.environ.get(f"{PREFIX}URL", DEFAULT_URL)
    parser.add_argument("--url", default=url, help=f"the service ({PREFIX}URL, {DEFAULT_URL})")
    parser.add_argument(
        "--key", default=os.environ.get(f"{PREFIX}KEY"), help=f"API key ({PREFIX}KEY)"
    )
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds in all (120)")


def open_client(options: argparse.Namespace) -> "Client":
    """Make a client as a command's options say."""
    from app.client import Client

    return Client(options.url, key=options.key, timeout_s=options.timeout)


def show(answer: Any) -> None:
    """Print an answer as JSON, with indents for a reader at a terminal."""
    print(json.dumps(answer, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))
