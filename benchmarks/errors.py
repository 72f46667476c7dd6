"""What stops a benchmark."""


class BenchError(Exception):
    """What stops a run, in one line."""
