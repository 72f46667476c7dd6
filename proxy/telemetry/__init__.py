"""What Crossfade says of itself.

`metrics` (added up over the workers, for Prometheus), `logs` (one JSON line per event), `tasks` (background tasks whose
errors are logged), `clock` (the real one).
"""
