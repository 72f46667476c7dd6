"""The control plane.

`supervisor` starts, restarts and ends the others (`child` one of them, `sockets` what they listen on). `process` is the
control process and wires its parts: `hub` serves the workers' link, `recorder` brings what they report to the store
(`batching`), `controller` makes snapshots and moves the rollouts (`course` one of them, `guard` its tests), `reload`
watches the `configuration`, `operations` answers the admin API, `leftovers` collects what lost workers left on disk.

The way of a tick: hub, metrics and guard, recorder, store; then its acknowledgement. The way of a decision: evidence or
trip, course, store, snapshot, hub.
"""
