"""Crossfade: a traffic-splitting reverse proxy that takes an AI agent to production in front of a human workflow.

The packages, top to bottom (imports go down only; ARCHITECTURE.md is the map):

    cli, demo                          commands; the bundled demonstration
    control, gateway, admin            the processes: control plane, data plane, the operator's API
    storage, telemetry                 Redis and disk; metrics and logs
    routing, outcomes, analysis, rollout   pure decisions: counts and `now` in, verdicts with reasons out
    config                             YAML to a checked, compiled configuration
    model                              the words, as frozen types; the error tree; the ports
"""

__version__ = "0.1.0"
