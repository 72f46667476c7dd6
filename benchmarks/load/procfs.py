"""What the kernel knows of processes: CPU time, peak memory, titles, parents. See proc(5)."""

import os
from collections.abc import Iterable
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_ESTABLISHED = "01"
PROC = Path("/proc")


def cpu_seconds(pids: Iterable[int]) -> float:
    """utime + stime of all threads of the processes. FileNotFoundError when one has ended."""
    return sum(sum(int(field) for field in _stat(pid)[11:13]) for pid in pids) / _TICK


def peak_memory(pids: Iterable[int]) -> int:
    """VmHWM of the processes, added up, in bytes."""
    return sum(_peak(pid) for pid in pids)


def established(port: int) -> int:
    """Connections to a local port of IPv4, accepted or not, as the server's side sees them. See proc_net_tcp."""
    wanted = f":{port:04X}"
    lines = (PROC / "net" / "tcp").read_text().splitlines()[1:]
    fields = (line.split(maxsplit=4) for line in lines)
    return sum(local.endswith(wanted) and state == _ESTABLISHED for _, local, _, state, *_ in fields)


def descendants(pid: int) -> list[int]:
    """Children of `pid`, their children and so on, in order of their ids."""
    children: dict[int, list[int]] = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            try:
                parent = int(_stat(int(folder.name))[1])
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
            children.setdefault(parent, []).append(int(folder.name))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return sorted(found)


def title(pid: int) -> str:
    """The command line, or what the process calls itself by setproctitle."""
    return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, which may hold spaces: state is 0, ppid 1, utime 11, stime 12."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _peak(pid: int) -> int:
    status = (PROC / str(pid) / "status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) << 10
