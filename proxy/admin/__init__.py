"""The operator's HTTP API on aiohttp: health, metrics, routes and verbs, pairs. GET never changes anything."""
