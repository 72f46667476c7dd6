"""Why a request was handed over to the human, as one of a few words: a sentence makes no label and no filter."""

from typing import Final

from proxy.model.records import Record
from proxy.model.words import Failure

CONFIDENCE: Final = "confidence"
"""The agent answered, and was too unsure."""

REASONS: Final = (*(failure.value for failure in Failure), CONFIDENCE)


def reason(record: Record) -> str:
    """Of a record that has an escalation: what kept the agent from completing."""
    error = record.agent.error if record.agent is not None else ""
    if error not in REASONS:
        return Failure.ESCALATION.value
    if error == Failure.ESCALATION and record.escalation is not None and record.escalation[1].startswith(CONFIDENCE):
        return CONFIDENCE
    return error
