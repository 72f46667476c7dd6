"""What the demonstration is about: customers ask for their money back, and someone decides.

`RefundRequest` and `Decision` are what goes over the wire; `Customer` draws plausible requests from a seeded generator.
"""

from dataclasses import dataclass
from random import Random
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Reason = Literal["damaged", "wrong_item", "late", "changed_mind", "other"]
Opinion = Literal["approved", "denied", "needs_review"]

_REASONS: Final[tuple[Reason, ...]] = ("damaged", "wrong_item", "late", "changed_mind", "other")
_REASON_WEIGHTS: Final = (30, 20, 19, 30, 1)
_REFUNDS: Final = (0, 1, 2, 3, 4, 5)
_REFUND_WEIGHTS: Final = (60, 20, 10, 5, 3, 2)


class RefundRequest(BaseModel):
    """The body of `POST /refunds`. `amount` is in euros, `order_age_days` counts from the delivery."""

    model_config = ConfigDict(frozen=True)

    id: Annotated[str, Field(min_length=1, max_length=64)]
    user: Annotated[str, Field(min_length=1, max_length=64)]
    amount: Annotated[float, Field(gt=0, le=100_000)]
    reason: Reason
    order_age_days: Annotated[int, Field(ge=0)]
    refunds_last_year: Annotated[int, Field(ge=0)] = 0


class Decision(BaseModel):
    """The answer: `amount` is what is paid back. `handed_over` is why an agent's request came to a human, or empty."""

    model_config = ConfigDict(frozen=True)

    id: str
    decision: Opinion
    amount: float
    why: str
    decided_by: Literal["human", "agent"]
    confidence: Annotated[float, Field(ge=0, le=1)] = 1.0
    handed_over: str = ""


@dataclass(frozen=True, slots=True)
class Customer:
    """One user, with the history that a refund is judged by."""

    name: str
    refunds_last_year: int

    @classmethod
    def draw(cls, number: int, random: Random) -> "Customer":
        return cls(f"user-{number:04d}", random.choices(_REFUNDS, _REFUND_WEIGHTS)[0])

    def ask(self, number: int, random: Random) -> RefundRequest:
        """Amounts have a median of 60 euros and a long tail; most orders are a few weeks old."""
        return RefundRequest(
            id=f"refund-{number:06d}",
            user=self.name,
            amount=round(min(2000.0, max(1.0, random.lognormvariate(4.1, 0.9))), 2),
            reason=random.choices(_REASONS, _REASON_WEIGHTS)[0],
            order_age_days=min(120, int(random.expovariate(1 / 18))),
            refunds_last_year=self.refunds_last_year,
        )
