"""A soak: seeded clients and seeded upstreams that misbehave, and the books that must balance afterwards.

`acts` says what an upstream may do with a request, `upstream` does it, `plan` draws the clients' visits from a seed,
`visits` makes them and keeps what came back, `verdicts` judges each request by what both sides saw, `books` compares
`/metrics` with the clients' log.
"""
