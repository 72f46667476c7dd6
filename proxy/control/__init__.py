"""The control plane.

`supervisor` starts, restarts and ends the others (`child` one of them, `sockets` what they listen on). `process` is the
control process and wires its parts: `hub` serves the workers' link, `recorder` brings what they report to the store
(`batching`), `controller` makes snapshots and moves the rollouts, `reload` watches the `configuration`, `operations`
answers the admin API, `leftovers` collects what lost workers left on disk. `spans` keeps and logs what
agents did, and `forwarding` hands their spans on.

`course` is one rollout on its way: `standing` says where it stands, here and in the store; `watch` sees to its `guard`,
which `arrivals` feed; `examination` looks at its evidence, and `soak` at the time. `sharing` is what replicas have in
common.

The way of a tick: hub, metrics and guard, recorder, store; then its acknowledgement. The way of a decision: evidence or
trip, course, store, snapshot, hub; on the other replicas: store, course, snapshot, hub.
"""
