"""The worker process: accepts, forwards, copies, falls back; knows no Redis.

`python -m proxy.gateway.worker`, started by the supervisor, which hands it its listening socket. It serves by its last
snapshot whether the control process is there or not.
"""

import argparse
import sys
from contextlib import suppress

import setproctitle
import structlog
import uvloop

from proxy.gateway import compiled
from proxy.model.errors import CrossfadeError
from proxy.model.words import Process
from proxy.telemetry import life, logs

_log = structlog.get_logger()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="crossfade worker", description=__doc__)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--fd", type=int, required=True, help="the listening socket")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--link", required=True, help="the control process's socket")
    parser.add_argument("--ready-fd", type=int)
    parser.add_argument("--life-fd", type=int)
    parser.add_argument("--wait", type=float, default=3.0, help="seconds to wait for the first snapshot")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds that requests get to finish in")
    parser.add_argument("--flush", type=float, default=3.0, help="seconds to hand over the last counts in")
    options = parser.parse_args(arguments)
    name = f"{Process.WORKER} {options.number}"
    setproctitle.setproctitle(f"crossfade: {name}")
    logs.configure(name)
    reason = compiled.install()
    _log.info("hot_path", compiled=reason is None, reason=reason)
    from proxy.gateway.service import serve  # noqa: PLC0415  # only now: see `compiled`

    try:
        uvloop.run(serve(options))
    except CrossfadeError as error:
        life.say_error(options.ready_fd, str(error))
        _log.error("worker_cannot_start", reason=str(error))
        sys.exit(1)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
