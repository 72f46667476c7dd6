"""Records as a worker packs them: the inverse of `proxy.model.records.unpack`, for tests of those who get them."""

from typing import Any

import msgpack

from proxy.model.records import NOT_ASKED, Outcome, Record


def fields(record: Record) -> tuple[Any, ...]:
    """What is packed of a record."""
    escalation, why = record.escalation or ("", "")
    return (
        record.request_id.encode("latin-1"), f"00-{record.trace_id}-00f067aa0ba902b7-01".encode("latin-1"),
        record.route, record.version, record.stage, record.epoch, record.at, record.method.encode("latin-1"),
        record.target.encode("latin-1"), bytes.fromhex(record.key_hash), record.bucket, record.arm, record.mode,
        record.reason, record.fate, lines(record.headers), record.body or b"", record.truncated,
        escalation.encode("latin-1"), why, *outcome(record.legacy), *outcome(record.agent),
        outcome(record.repeat) if record.repeat is not None else None,
    )  # fmt: skip


def outcome(outcome: Outcome | None) -> tuple[Any, ...]:
    if outcome is None:
        return (NOT_ASKED, 0.0, "", b"", b"", False, 0.0)
    return outcome._replace(headers=lines(outcome.headers), body=outcome.body or b"")  # type: ignore[arg-type]  # packed


def lines(headers: tuple[tuple[str, str], ...]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")


def pack(*records: Any) -> bytes:
    """One after the other. What is no `Record` is packed as it is."""
    return b"".join(msgpack.packb(fields(record) if isinstance(record, Record) else record) for record in records)
