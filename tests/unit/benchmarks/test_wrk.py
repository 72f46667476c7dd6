import json

import pytest

from benchmarks.load.wrk import parse_wrk


def test_wrk_s_last_line_is_read() -> None:
    told = {"requests": 3000, "microseconds": 1_500_000, "p50": 2500, "p99": 9000}
    errors = {"connect": 0, "read": 1, "write": 0, "status": 4, "timeout": 2}
    load = parse_wrk(
        "Running 1m test\n  1 threads and 64 connections\n" + json.dumps({**told, "errors": errors}) + "\n"
    )

    assert load.requests == 3000
    assert load.per_second == 2000
    assert (load.p50, load.p99) == (2.5, 9.0)
    assert load.errors == 7


def test_output_without_that_line_is_refused() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused")
