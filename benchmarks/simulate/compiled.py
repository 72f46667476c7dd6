"""The product's rules, compiled by mypyc for this process alone: more days in the time. The product runs them pure.

The sources are copied into a temporary directory, compiled there and found before those of the checkout. Figures are
the same, for the same operations are done in the same order.
"""

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from proxy.gateway.compile import CannotCompileError, check
from proxy.gateway.compiled import ROOT, SWITCH, Finder

MODULES = tuple(f"proxy.analysis.{file.stem}" for file in sorted(Path(ROOT, "proxy/analysis").glob("[!_]*.py")))

_FINAL = re.compile(r"^(\w+): Final = ", re.MULTILINE)
"""What mypyc 2.4 leaves without a value where it is a tuple of floats."""


def install() -> str | None:
    """Let the modules be compiled when they are imported. None where they will; else why not, as part of a sentence."""
    if SWITCH in os.environ:
        return f"{SWITCH} is set"
    if early := [module for module in MODULES if module in sys.modules]:
        return f"{early[0]} was imported before"
    try:
        check()
        with TemporaryDirectory(prefix="crossfade-simulate-") as folder:
            _load(Path(folder))
    except (CannotCompileError, OSError) as error:
        return str(error)
    return None


def _load(folder: Path) -> None:
    shutil.copytree(ROOT / "proxy", folder / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    files = [folder.joinpath(*module.split(".")).with_suffix(".py") for module in MODULES]
    for file in files:
        file.write_text(_FINAL.sub(r"\1 = ", file.read_text()))
    done = subprocess.run(
        [sys.executable, "-m", "mypyc", "--config-file=", "--follow-imports=silent", "--ignore-missing-imports",
         *(str(file.relative_to(folder)) for file in files)],
        cwd=folder, env={**os.environ, "MYPYC_OPT_LEVEL": "2", "MYPYC_DEBUG_LEVEL": "0"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise CannotCompileError(f"this went wrong: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    shutil.rmtree(folder / "build")
    finder = Finder(folder)
    sys.meta_path.insert(0, finder)
    try:
        for name in sorted(
            finder.files, key=lambda name: not name.endswith("__mypyc")
        ):  # the others point into that one
            import_module(name)
    finally:
        sys.meta_path.remove(finder)
