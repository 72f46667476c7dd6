"""A real Valkey for tests, run exactly as `store: embedded` runs it; it can be stopped, killed and started again."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import IO

from proxy.storage import embedded


class Valkey:
    """One server on its own data. `url` stays the same over restarts."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def start(self) -> None:
        prepared = embedded.command(self.data_dir)
        self.url = prepared.url
        self._log = (self.data_dir / "valkey.log").open("ab")
        self._process = subprocess.Popen(
            prepared.argv, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, pass_fds=(prepared.lock,)
        )
        os.close(prepared.lock)
        self._wait(prepared.socket)

    def stop(self) -> None:
        """End it cleanly."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """It keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)
        self._process.wait(10)
        self._process = None
        if self._log is not None:
            self._log.close()

    def _wait(self, path: Path) -> None:
        assert self._process is not None
        deadline = time.monotonic() + 10
        while not _answers(path):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.data_dir / "valkey.log").read_text())
            time.sleep(0.005)  # noqa: TID251  # nothing tells when a fresh server is ready


def _answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(1.0)
            link.connect(str(path))
            link.sendall(b"PING\r\n")
            return link.recv(16).startswith(b"+PONG")
    except OSError:
        return False
