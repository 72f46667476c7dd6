"""The bundled demonstration: a human workflow, an agent, their users, and the live table that shows a rollout.

`human` and `agent` are real HTTP services (framed by `service`) that decide `refunds`, `users` is the traffic, `census`
checks who was served by whom. `play` tells the story in acts: it starts `crossfade run` as anyone would (`children`,
`scene`), watches it through the admin API (`watch`) and shows it (`show`). It stands outside the product.
"""
