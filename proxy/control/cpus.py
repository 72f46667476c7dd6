"""How many CPUs this process may use: what `workers: auto` counts.

Three things bound it: the machine, the process's affinity (taskset, a cpuset), and the CPU quota of its control group
or of one above, which is how containers are given "2 CPUs" of a machine that has 64. More workers than that would only
make each other wait.

Sources: cgroups(7); `cpu.max` in the kernel's admin-guide/cgroup-v2, `cpu.cfs_quota_us` in its scheduler/sched-bwc.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_MOUNT = "sys/fs/cgroup"


def usable_cpus(root: Path = Path("/")) -> int:
    """Whole CPUs, at least 1: of 2.5 the half is left to the control process. `root` is where /proc and /sys are."""
    return max(1, int(min([len(os.sched_getaffinity(0)), *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    """In CPUs, of each group that this process is in and that has one. A file that is missing or unreadable bounds
    nothing: which of them there are depends on the kernel, the mounts and the container."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            for mount in (_MOUNT, f"{_MOUNT}/unified"):
                yield from _of_version_2(root / mount, group)
        elif "cpu" in controllers.split(","):
            yield from _of_version_1(root / _MOUNT / controllers, group)


def _of_version_2(mount: Path, group: str) -> Iterator[float]:
    for directory in _upwards(mount, group):
        match _text(directory / "cpu.max").split():
            case [quota, period] if quota.isdecimal() and period.isdecimal() and int(period):
                yield int(quota) / int(period)


def _of_version_1(mount: Path, group: str) -> Iterator[float]:
    for directory in _upwards(mount, group):
        quota, period = (_text(directory / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
        if quota.isdecimal() and period.isdecimal() and int(period):  # no quota is written as -1
            yield int(quota) / int(period)


def _upwards(mount: Path, group: str) -> Iterator[Path]:
    """The group's directory, and those above up to the mount. In a container the path is often the host's and not
    there; then the mount itself is the container's group."""
    inner = PurePosixPath(group.lstrip("/"))
    if ".." in inner.parts:  # a group outside of our namespace
        inner = PurePosixPath()
    for part in (inner, *inner.parents):
        yield mount / part


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
