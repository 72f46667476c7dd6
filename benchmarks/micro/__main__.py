"""`python -m benchmarks.micro [WORD ...]`: µs per call of what has a WORD in its name, the best of five runs."""

import sys
import timeit

from benchmarks.micro.calls import calls

REPEATS = 5
SECONDS = 0.1


def best(call: timeit.Timer) -> float:
    """µs per call: the best of REPEATS, since all that disturbs a call makes it slower."""
    count, taken = call.autorange()
    count = max(1, round(count * SECONDS / taken))
    return min(call.repeat(REPEATS, count)) / count * 1e6


def main(words: list[str]) -> None:
    for name, call in calls().items():
        if not words or any(word in name for word in words):
            print(f"{best(timeit.Timer(call)):9.3f} µs  {name}")


if __name__ == "__main__":
    main(sys.argv[1:])
