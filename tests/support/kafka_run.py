"""Run a real Apache Kafka on this machine until Ctrl-C, and print how Tocsin reaches it.

python -m tests.support.kafka_run [--port 9092] [--secure] [--fetch]
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path

from tests.support.kafka import KAFKA_VERSION, kafka_libs, missing_tools, running_kafka
from tocsin.embedded.errors import PartFailedError, PortTakenError
from tocsin.embedded.ports import choose_port
from tocsin.embedded.stack import kafka_variables

__all__ = ["main"]

_say = partial(print, flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=9092, help="0 takes a free one")
    parser.add_argument("--secure", action="store_true", help="for clients with SCRAM over TLS")
    parser.add_argument("--fetch", action="store_true", help="only get the jars, by Maven")
    asked = parser.parse_args(argv)
    if missing := missing_tools():
        _say(f"Apache Kafka needs {' and '.join(missing)} (Java 17 and Maven)", file=sys.stderr)
        return 3
    libs, seconds = kafka_libs()
    _say(f"Apache Kafka {KAFKA_VERSION}: jars in {libs} ({seconds:.0f} s to fetch)")
    if asked.fetch:
        return 0
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        port = choose_port("Apache Kafka", asked.port, "--port")
        with (
            tempfile.TemporaryDirectory(prefix="tocsin-kafka-") as folder,
            running_kafka(Path(folder), libs, secure=asked.secure, port=port) as node,
        ):
            _say(f"ready in {node.started_s:.1f} s; its topics end with it. For Tocsin:")
            for name, value in kafka_variables(node.settings()).items():
                if value:
                    _say(f"export {name}={value}")
            while not stop.wait(1):
                node.node.check()
    except (PartFailedError, PortTakenError) as error:
        _say(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
