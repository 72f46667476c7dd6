"""Make the build that `compiled` finds: `python -m proxy.gateway.compile`. It needs a C compiler and mypyc.

mypyc works on a copy of the sources in a temporary directory, and what it made is renamed into its place as a whole. So
a build is there or not, and what runs is never disturbed: a worker goes on with the build that it has loaded.
"""

import argparse
import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from proxy.gateway import compiled

_OPTIMISE: Final = "2"
"""The C compiler's level: 3 takes longer and makes nothing quicker here."""
_FLAGS: Final = ("--config-file=", "--follow-imports=silent", "--ignore-missing-imports")
"""What mypy is told, instead of what a configuration nearby says. To be strict is for `make check`."""
_STAMP: Final = "mypy"
"""A build's file that names the version of mypy that it was made with."""


class CannotCompileError(Exception):
    """What is missing, or what mypyc and the C compiler said."""


def check() -> None:
    """Raises CannotCompileError where something is missing here to compile with."""
    for module in ("mypyc", "setuptools"):
        if find_spec(module) is None:
            raise CannotCompileError(f"{module} is not installed (it is among the development dependencies)")
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        raise CannotCompileError(f"there is no C compiler {compiler!r} (on Debian: apt-get install gcc)")
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        raise CannotCompileError("Python's C headers are not installed (on Debian: apt-get install python3-dev)")


def is_fresh() -> bool:
    """Whether there is a build of the present sources, made with the mypy that is installed now."""
    stamp = compiled.directory() / _STAMP
    return stamp.is_file() and stamp.read_text() == version("mypy")


def ensure() -> None:
    """Make the build of the present sources unless it is there. Raises CannotCompileError and OSError."""
    if is_fresh():
        return
    check()
    compiled.BUILDS.mkdir(exist_ok=True)
    with (compiled.BUILDS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second one at the same time waits, and finds its work done
        if not is_fresh():
            print("compiling the hot path (half a minute, once for these sources)", flush=True)  # noqa: T201  # a command
            _make()


def _make() -> None:
    """Make the build, and remove all others."""
    with TemporaryDirectory(dir=compiled.BUILDS) as scratch:  # on the same file system, for the rename
        project, made = Path(scratch, "project"), Path(scratch, "made")
        shutil.copytree(compiled.ROOT / "proxy", project / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
        build = compiled.directory(project)  # of the copy: the sources may be edited meanwhile
        _run_mypyc(project)
        for name, file in compiled.Finder(project).files.items():
            target = made.joinpath(*name.split(".")).with_name(file.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)
        (made / _STAMP).write_text(version("mypy"))
        for old in compiled.BUILDS.iterdir():
            if old.is_dir() and old != Path(scratch):
                shutil.rmtree(old)
        made.rename(build)


def _run_mypyc(project: Path) -> None:
    files = [str(file.relative_to(project)) for file in compiled.sources(project)]
    done = subprocess.run(  # noqa: S603  # our own words, no shell
        [sys.executable, "-m", "mypyc", *_FLAGS, *files],
        cwd=project,
        env={**os.environ, "MYPYC_OPT_LEVEL": _OPTIMISE, "MYPYC_DEBUG_LEVEL": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CannotCompileError(f"this went wrong:\n{done.stdout}")
    shutil.rmtree(project / "build")  # mypyc's working directory, with a second copy of each file


def main(arguments: list[str] | None = None) -> None:
    """Exit code 1, with the reason on stderr, where it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m proxy.gateway.compile", description="Compile the hot path.")
    parser.add_argument("--check", action="store_true", help="only say whether it is done, or can be")
    try:
        if not parser.parse_args(arguments).check:
            ensure()
        elif not is_fresh():
            check()
    except (CannotCompileError, OSError) as error:
        sys.exit(f"not compiled, Crossfade runs in pure Python: {error}")


if __name__ == "__main__":
    main()
