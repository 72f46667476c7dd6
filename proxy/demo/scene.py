"""Where the demonstration plays: free ports, and the configuration that `crossfade run` gets."""

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.demo.service import LOOPBACK

ROUTE: Final = "refunds"
MIN_SAMPLES: Final = 200
AGREEMENT_FLOOR: Final = 90


@dataclass(frozen=True, slots=True)
class Stage:
    """One step as the demonstration plans it; `weight` in percent, `soak` in seconds."""

    name: str
    weight: int
    soak: int


STAGES: Final = (
    Stage("shadow", 0, 10),
    Stage("canary", 5, 8),
    Stage("expand-10", 10, 8),
    Stage("expand-25", 25, 8),
    Stage("expand-50", 50, 600),  # the agent fails first
)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def write_config(folder: Path, *, gateway: int, admin: int, human: str, agent: str) -> Path:
    """Write `crossfade.yaml` into `folder`, which also holds the data. `human` and `agent` are `host:port`."""
    stages = "\n".join(
        f"        - {{name: {stage.name}, weight: {stage.weight}, soak: {stage.soak}s}}" for stage in STAGES
    )
    path = folder / "crossfade.yaml"
    path.write_text(f"""\
listen: {{address: "{LOOPBACK}:{gateway}"}}
admin: {{address: "{LOOPBACK}:{admin}"}}
workers: 2
store: embedded
data_dir: {json.dumps(str(folder / "data"))}
drain_timeout: 5s

upstreams:
  human: {{url: "http://{human}", timeouts: {{connect: 1s, response: 10s}}}}
  agent: {{url: "http://{agent}", timeouts: {{connect: 500ms, response: 2s}}}}

routes:
  - name: {ROUTE}
    match: {{path_prefix: /refunds, methods: [POST]}}
    legacy: human
    rollout:
      agent: agent
      version: demo-1
      key: [{{header: x-user-id}}, client_ip]
      salt: demo
      compare: {{decision: $.decision}}
      gates: {{min_samples: {MIN_SAMPLES}, agreement: {AGREEMENT_FLOOR}%}}
      stages:
{stages}
""")
    return path
