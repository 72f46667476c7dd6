"""Every case of what a safe HTTP/1.1 reverse proxy does, by raw bytes on both sides. A test's id begins with the number
of its rule in HTTP.md, beside this file: 1-16 `test_framing`, 17-26 `test_request_line`, 27-32 `test_forwarding`, 33-36
`test_answers`, 37-42 `test_lifetime`; `test_smuggling` holds whole conversations against what several readers would
make of them.

Beside this directory: 29 (where a request came from) in `tests/unit/gateway/test_forwarded.py`, 30 (tunnels) in
`../test_tunnels.py`, 38 (what may be asked twice) in `../test_retries.py`, cuts and mutations in `../test_splits.py`.
"""
