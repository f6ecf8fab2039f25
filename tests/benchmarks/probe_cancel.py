"""How soon a canceled probe job has ended, its partial result kept, at many moments of its way.

    python tests/benchmarks/probe_cancel.py --queries 1 8 60 300 --after 0.2 1 3 6

Each job is deleted so many seconds after it was sent; printed is the time until its report can be
read, by a watcher that asks every 10 ms. With --inside it attacks from the inside too, and with a
budget of 1 text it comes to that soon.
"""

import argparse
import json
import os
import socket
import time
from pathlib import Path

import httpx
from probe_beside import serving

DEMO = Path(__file__).parents[2] / "app" / "default" / "demo"


def queries(count: int) -> list[dict[str, str]]:
    """The demo's queries, and first words of its documents where these do not suffice."""
    rows = [json.loads(line) for line in (DEMO / "queries.jsonl").read_text("utf-8").splitlines()]
    found = [{name: row[name] for name in ("query_id", "text", "lang")} for row in rows]
    for line in (DEMO / "documents.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        text = " ".join(row["text"].split()[:6])[:60]
        found.append({"query_id": row["doc_id"], "text": text, "lang": row["lang"]})
    step = max(1, len(found) // count)
    return found[::step][:count]


def cancel(client: httpx.Client, body: dict, after_s: float) -> dict:
    """Begin a job, cancel it, and wait for its end."""
    path = client.post("/probe/adversarial", json=body).headers["location"]
    time.sleep(after_s)
    before = client.get(path).json()
    began = time.monotonic()
    answer = client.delete(path)
    if answer.status_code == 204:
        return {"queries": len(body["queries"]), "after_s": after_s, "stage": "was done"}
    job = answer.json()
    while job["state"] in ("queued", "running"):
        time.sleep(0.01)
        job = client.get(path).json()
    took = time.monotonic() - began
    report = client.get(f"{path}/report")
    client.delete(path)
    return {
        "queries": len(body["queries"]),
        "after_s": after_s,
        "stage": (before["progress"] or {}).get("stage"),
        "ended_s": round(took, 2),
        "state": job["state"],
        "report_kb": len(report.content) // 1000 if report.status_code == 200 else None,
    }


def main() -> None:
    """Cancel jobs of several sizes at several moments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 8, 60, 300])
    parser.add_argument("--after", type=float, nargs="+", default=[0.2, 1.0, 3.0, 6.0])
    parser.add_argument("--inside", nargs="*", default=[], help="attacks: pgd, hotflip, trigger")
    parser.add_argument("--tries", type=int, default=64)
    chosen = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    took: list[float] = []
    with serving(port) as url, httpx.Client(base_url=url, timeout=60) as client:
        for count in chosen.queries:
            for after_s in chosen.after:
                budget = {"queries": chosen.tries, "seconds": 600.0}
                body = {"collection": "demo", "queries": queries(count), "background": True}
                body |= {"budget": budget, "seeds": 4}
                if chosen.inside:
                    white_box = {"attacks": chosen.inside, "steps": 1000, "restarts": 32}
                    body |= {"white_box": white_box, "attacks": ["case"], "seeds": 1}
                found = cancel(client, body, after_s)
                took.append(found.get("ended_s", 0.0))
                print(json.dumps(found), flush=True)
    print(json.dumps({"most_s": max(took), "jobs": len(took), "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
