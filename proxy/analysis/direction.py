"""Do mistakes lean to one side? McNemar's question, asked with an e-value so that it may be asked all the time."""

from math import lgamma, log


def log_evidence(b: int, c: int) -> float:
    """Log of the e-value against "of the pairs that disagree, either direction is as likely": `B(1+b, 1+c) 2^(b+c)`,
    the uniform mixture of all other splits. `b` pairs disagree one way, `c` the other.

    Under balance it exceeds -log(alpha) with a chance of at most alpha, ever, to either side.
    """
    return lgamma(1 + b) + lgamma(1 + c) - lgamma(2 + b + c) + (b + c) * log(2)
