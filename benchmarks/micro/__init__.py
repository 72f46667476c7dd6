"""Micro benchmarks: what the pure functions cost that each request, or each recorded pair, passes through."""
