"""`pytest -p tests.compiled …` runs the same tests with the gateway compiled.

A plugin and no option of `conftest`: it has to come before the first conftest that imports the gateway.
"""

from collections.abc import Generator

import pytest

from proxy.gateway import compile as compiling
from proxy.gateway import compiled


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests() -> Generator[None]:
    try:
        compiling.ensure()
    except (compiling.CannotCompileError, OSError) as error:
        raise pytest.UsageError(f"the gateway cannot be compiled: {error}") from error
    reason = compiled.install()
    if reason is not None:
        raise pytest.UsageError(f"the gateway is not compiled: {reason}")
    return (yield)


def pytest_report_header() -> str:
    return f"gateway: compiled, {compiled.directory()}"
