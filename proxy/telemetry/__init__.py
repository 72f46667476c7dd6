"""What Crossfade says of itself, and what agents say of theirs.

`metrics` (added up over the workers; `exposition` puts them into Prometheus's families), `logs` (one JSON line for each
event; `masking` takes the secrets out), `tasks` (background tasks whose errors are logged), `life` (what a process and
its supervisor tell each other), `clock` (the real one, and how times are written). `otlp` reads the
spans that agents' OpenTelemetry sends.
"""
