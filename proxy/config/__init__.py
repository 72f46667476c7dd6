"""Configuration: YAML text in, a checked, frozen `Config` out, or one `ConfigError` that says file, line and path.

`source` reads YAML and remembers each value's line, `interpolate` fills in `${VAR}` and `${file:...}`, `schema` checks
types and meaning, `load` runs the three and turns what pydantic says into operator's words, `compile` makes of a Config
and the rollouts' placements the `Snapshot` that workers decide by. Pure: text and environment are arguments.
"""
