"""Two executor processes, and an action that both get again and again: it takes effect once.

    python -m tests.two_executors [--runs 100] [--deliveries 3]

Each run hands one ActionRequested to both processes at once, several times each, over one flag
file. Prints one JSON object; exits with 1 unless every run had exactly one effective action.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from schemas.flag import FlagKey
from schemas.settings import Settings
from serving.actuators import levers
from serving.flags.store import FlagStore
from serving.obey import Obedience
from tests.support.actions import NOW_US, asked, promoted_flags


def work(name: str, deliveries: int) -> None:
    """Be one executor: answer for each folder on standard input, as often as it is delivered."""
    for line in sys.stdin:
        folder = Path(line.rstrip("\n"))
        obeys = Obedience(
            levers(FlagStore(folder / "flags.json"), Settings()),
            data_dir=folder,
            executor=name,
            request_age_s=900,
        )
        answers = [
            asyncio.run(obeys.answer(asked(), NOW_US + n)).to_json().decode()
            for n in range(deliveries)
        ]
        print(json.dumps(answers), flush=True)  # noqa: T201


def once(folder: Path, workers: list[subprocess.Popen[str]]) -> str:
    """Return how one run went: ``once``, or what was wrong."""
    folder.mkdir()
    store = promoted_flags(folder / "flags.json")
    for worker in workers:
        assert worker.stdin
        worker.stdin.write(f"{folder}\n")
        worker.stdin.flush()
    answers: list[str] = []
    for worker in workers:
        assert worker.stdout
        answers += json.loads(worker.stdout.readline())
    changes = [c.variant for c in store.read().flag(FlagKey.MODEL_VERSION).history]
    if changes != ["v1", "v2", "v1"]:
        return f"the version went {' -> '.join(changes)}"
    if len(set(answers)) != 1:
        return f"{len(set(answers))} different results"
    status: str = json.loads(answers[0])["status"]
    return "once" if status == "applied" else status


def main() -> int:
    """Run and count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--deliveries", type=int, default=3)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work, arguments.deliveries)
        return 0
    command = [sys.executable, "-m", "tests.two_executors"]
    command += ["--deliveries", str(arguments.deliveries), "--work"]
    workers = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    try:
        with tempfile.TemporaryDirectory() as root:
            ends = Counter(once(Path(root) / str(run), workers) for run in range(arguments.runs))
    finally:
        for worker in workers:
            worker.communicate(timeout=30)
    kept = ends["once"] == arguments.runs
    print(json.dumps({"runs": arguments.runs, "ends": dict(ends), "kept": kept}))  # noqa: T201
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
