"""The data plane: one worker process.

Bytes come in at `downstream` (a client's connection); `exchange` carries one request through decision, `upstream` (pooled
connections), fallback and answer; `shadow` carries the copy. `counters` counts, `link` reports to the control process.
"""
