"""`make simulate`: what the decision rules reach, beside their goals and the rules of others on the same traffic."""

import sys

from benchmarks.simulate import compiled

if __name__ == "__main__":
    reason = compiled.install()
    print(f"the rules run as plain Python: {reason}" if reason else "the rules are compiled for this run", flush=True)
    from benchmarks.simulate.command import main  # only now: what it imports is to be the compiled one

    sys.exit(main())
