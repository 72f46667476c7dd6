"""Configuration: YAML text in, a checked, frozen `Config` out, or a `ConfigError` that says file, line and path.

`source` reads YAML and remembers each value's line; `interpolate` fills in `${VAR}` and `${file:...}`; `schema` (with
`listen_schema`, `upstream_schema` and `rollout_schema`, made of `fields`, `units` and `store_url`) checks each section;
`checks` what spans sections; `explain` turns what pydantic says into the operator's words; `load` runs them in that
order. `compile` makes of a Config and the rollouts' placements the `Snapshot` that workers decide by. Pure: text,
environment and files are arguments.
"""
