"""Record the exchanges of tests/data/vllm anew: `python -m tests.support.vllm.record` in the root.

With names of cases it records these alone. Takes about two minutes. The prompts are our own and the
model is random, so nothing in the recordings is anybody's text.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

from tests.support.vllm.cases import CASES, Server, drive_admission_limit, drive_engine_death
from tests.support.vllm.server import ADMISSION_LIMIT, serve

__all__ = ["main"]

HERE = Path(__file__).resolve().parent
TARGET = HERE.parents[1] / "data" / "vllm"


async def _drive(kind: str, server: Server, wanted: Collection[str]) -> None:
    for case in CASES:
        if case.server == kind and (not wanted or case.name in wanted):
            await case.drive(server, case.name)
            await asyncio.sleep(0.2)  # an abort is recorded when the server has noticed it
    if kind == "generate" and not wanted:
        await drive_admission_limit(server, ADMISSION_LIMIT)
        await drive_engine_death(server)
        await asyncio.sleep(0.5)


def main(*wanted: str) -> None:
    """Start the servers, drive every case or those wanted, keep the recordings that tests play."""
    if unknown := set(wanted) - {case.name for case in CASES}:
        sys.exit(f"no such case: {', '.join(sorted(unknown))}")
    kinds = {case.server for case in CASES if not wanted or case.name in wanted}
    for kind in sorted(kinds, reverse=True):
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            environment = {"RECORD_DIR": name, "PYTHONPATH": str(HERE)}
            log = directory / "server.log"
            with serve(
                kind, log, middleware="recorder.Recorder", environment=environment
            ) as running:
                asyncio.run(_drive(kind, running.client(), wanted))
            TARGET.mkdir(parents=True, exist_ok=True)
            for recording in sorted(directory.glob("*.jsonl")):
                if not recording.stem.startswith("admission_holder"):
                    (TARGET / recording.name).write_bytes(recording.read_bytes())
    sys.stdout.write(f"recorded {len(list(TARGET.glob('*.jsonl')))} exchanges\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
