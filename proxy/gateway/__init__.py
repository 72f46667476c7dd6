"""The data plane: one worker process.

Bytes come in at `downstream`, a client's connection, and become a `request`. An `exchange` carries it through decision,
`upstream` (pooled `connection`s), `fallback` and `reply`, by the `table` that the last snapshot made; `shadow` carries
the copy. `counters` counts, `recording` keeps excerpts, `parcels` packs records, `link` reports to the control process,
`turn` gathers writes. `shared` is what all connections share, `worker` holds it all together.
"""
