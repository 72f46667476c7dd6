"""Pydantic's errors in the operator's words. The tables read: what is written, what is said."""

import pytest

from tests.unit.config.texts import SMALL, problems, spoiled, with_rollout

NAME = "is no name; write at most 64 lower-case letters, digits, - or _, with a letter or digit at both ends"
LONG = {
    "name": NAME,
    "all": "can never pass: no number of samples shows 100%; write less, such as 99.5%",
    "none": "can never pass: no number of samples shows that there are none; write more, such as 0.1%",
    "window": "is no window; write days and times (Fri 16:00 - Mon 08:00), times of each day (18:00 - 08:00) or dates"
    " (2026-12-23 - 2027-01-02)",
    "store": "must be embedded, redis://host:port/db, redis+sentinel://host:port,host:port/service, "
    "redis+cluster://host:port,host:port, one of these with rediss, or unix:///path",
    "zone": "is no time zone that this machine knows; write one such as Europe/Berlin, and install tzdata if it is one",
}


def table(text: str) -> list[tuple[str, str]]:
    """Entries of two lines each, with a blank line between them. `<name>` stands for a sentence above."""
    for name, sentence in LONG.items():
        text = text.replace(f"<{name}>", sentence)
    entries = [entry.splitlines() for entry in text.strip().split("\n\n")]
    return [(written, said.strip()) for written, said in entries]


ROLLOUT = table("""
shadow: {percent: 120}
    shadow.percent: 120 is not between 0 and 100 percent

shadow: {timeout: soon}
    shadow.timeout: "soon" is no duration; write a number with its unit, such as 500ms, 20s, 5m, 24h or 7d

shadow: {timeout: 0}
    shadow.timeout: 0 is too small; it must be over 0

shadow: {timeout: }
    shadow.timeout: has no value; write one, or leave the key out

shadow: {max_pending: 0}
    shadow.max_pending: 0 is too small; it must be at least 1

shadow: {max_pending: 1.5}
    shadow.max_pending: 1.5 is no whole number

shadow: {max_pending: 70000}
    shadow.max_pending: 70000 is too large; it must be at most 65536

shadow: {max_body: 1024}
    shadow.max_body: 1024 is no size; write a whole number with its unit, such as 512B, 64KiB or 1MiB

shadow: 5
    shadow: 5 must be a mapping of keys

shadow: [5]
    shadow: must be a mapping of keys

shadow: {timeot: 5s}
    shadow.timeot: is no known key; did you mean timeout?

gates: {agreement: 0.95}
    gates.agreement: 0.95 is no share; write 0 to 100 percent with the sign, such as 0.2% or 95%

gates: {readiness: required}
    gates.readiness: "required" needs the readiness checklist, which is not built yet; write off

gates: {agreement: 100%}
    gates.agreement: "100%" <all>

gates: {agreement: {min: 100%, dry_run: true}}
    gates.agreement.min: "100%" <all>

gates: {agreement: {dry_run: true}}
    gates.agreement.min: is missing

gates: {agreement: {min: 90%, dryrun: true}}
    gates.agreement.dryrun: is no known key; did you mean dry_run?

gates: {agreement: [90%]}
    gates.agreement: is no share; write 0 to 100 percent with the sign, such as 0.2% or 95%

gates: {agreement: {min: 90%, dry_run: maybe}}
    gates.agreement.dry_run: "maybe" is neither true nor false

gates: {kappa: 0.6}
    gates.kappa: 0.6 is no share; write 0 to 100 percent with the sign, such as 0.2% or 95%

gates: {fallback_rate: 0}
    gates.fallback_rate: 0 <none>

gates: {escalation_rate: {max: 0%}}
    gates.escalation_rate.max: "0%" <none>

gates: {error_rate: {max: 0}}
    gates.error_rate.max: 0 <none>

gates: {error_rate: 1%}
    gates.error_rate: "1%" must be a mapping of keys

gates: {segments: {agreement: 90%}}
    gates.segments.by: is missing

gates: {segments: {by: type}}
    gates.segments.by: "type" is no JSON path; it starts at the root, such as $.decision

gates: {segments: {by: $.type, agreement: 100%}}
    gates.segments.agreement: "100%" <all>

gates: {segments: {by: $.type, min_samples: 0}}
    gates.segments.min_samples: 0 is too small; it must be at least 1

gates: {direction: {yes: []}}
    gates.direction.yes: must not be empty

gates: {direction: {yes: approve}}
    gates.direction.yes: "approve" must be a list

gates: {direction: {yes: [{a: 1}]}}
    gates.direction.yes[0]: is no single value; write a text, a number, true or false

gates: {direction: {yes: [approve], worse: agent}}
    gates.direction.worse: "agent" is not known; did you mean agent_no?

holdback: 101
    holdback: 101 is not between 0 and 100 percent

on_failure: rolback
    on_failure: "rolback" is not known; did you mean rollback?

on_inconclusive: wait
    on_inconclusive: "wait" is not known; write hold or pause

freeze: Fri 16:00 - Mon 08:00
    freeze: "Fri 16:00 - Mon 08:00" must be a list

freeze: [Friday 16:00 - Mon 08:00]
    freeze[0]: "Friday 16:00 - Mon 08:00" <window>

freeze: [08:00 - 08:00]
    freeze[0]: "08:00 - 08:00" ends where it begins

freeze: [2027-01-02 - 2026-12-23]
    freeze[0]: "2027-01-02 - 2026-12-23" ends before it begins

freeze: [2026-02-29 - 2026-03-01]
    freeze[0]: "2026-02-29 - 2026-03-01" names 2026-02-29, which is no date

freeze: [00:00 - 12:00, 12:00 - 24:00]
    freeze: leaves no minute of the week free; what shall never move by itself takes approval: manual

timezone: Berlin
    timezone: "Berlin" <zone>

timezone: ../Berlin
    timezone: "../Berlin" <zone>

stages: [{name: a, weight: 5, approval: yes}]
    stages[0].approval: "yes" is not known; write automatic or manual

gates: {readiness: of}
    gates.readiness: "of" is not known; did you mean off?

gates: {readiness: 1}
    gates.readiness: 1 is not known; write required or off

fallback: {on: [5xxx]}
    fallback.on[0]: "5xxx" is not known; did you mean 5xx?

fallback: {on: timeout}
    fallback.on: "timeout" must be a list

escalate: {confidence: {path: $.c, below: true}}
    escalate.confidence.below: true is no number from 0 to 1

escalate: {confidence: {path: $.c, below: 2}}
    escalate.confidence.below: 2 is too large; it must be at most 1

escalate: {confidence: {path: $.c, below: low}}
    escalate.confidence.below: "low" is no number

escalate: {confidence: {path: $.c}}
    escalate.confidence.below: is missing

compare: {decision: decision}
    compare.decision: "decision" is no JSON path; it starts at the root, such as $.decision

compare: {decision: '$.a['}
    compare.decision: "$.a[" is no JSON path: it ends too early

compare: {decision: '$.a b'}
    compare.decision: "$.a b" is no JSON path: it goes wrong at character 5

compare: {fields: {tolerance: {amount: 1%}}}
    compare.fields.tolerance.amount: "amount" is no JSON path; it starts at the root, such as $.decision

compare: {fields: {tolerance: {$.a: much}}}
    compare.fields.tolerance["$.a"]: "much" is no tolerance; write a share (1%), a time (5s) or a number (0.01)

compare: {fields: {tolerance: {$.a: 101%}}}
    compare.fields.tolerance["$.a"]: "101%" is no share; write 0 to 100 percent with the sign, such as 0.2% or 95%

compare: {fields: {tolerance: {$: 5 s}}}
    compare.fields.tolerance["$"]: "5 s" is no duration; write a number with its unit, such as 500ms, 20s, 5m, 24h or 7d

compare: {fields: {normalize: {$.a: [case, cas]}}}
    compare.fields.normalize["$.a"][1]: "cas" is not known; did you mean case?

compare: {decision: 7}
    compare.decision: 7 is no decision; write a JSON path, {header: NAME}, status or {status: {NAME: [CODE]}}

compare: {decision: decision}
    compare.decision: "decision" is no JSON path; it starts at the root, such as $.decision

compare: {decision: {headr: x-decision}}
    compare.decision: is no decision; write a JSON path, {header: NAME}, status or {status: {NAME: [CODE]}}

compare: {decision: {header: Cookie}}
    compare.decision.header: "Cookie" carries credentials and is never recorded; leave it out

compare: {decision: {status: {approve: [200], deny: [500]}}}
    compare.decision.status.deny[0]: 500 is too large; it must be at most 499

compare: {decision: {status: {approve: [200], deny: [200]}}}
    compare.decision.status.deny[0]: 200 already stands for a decision

compare: {decision: $.d, labels: {approve: [ok, true], deny: ["true"]}}
    compare.labels.deny[0]: "true" already means approve

compare: {decision: $.d, labels: {approve: [ok], ok: []}}
    compare.labels.approve[0]: "ok" already means ok

compare: {decision: $.d, labels: {approve: [null]}}
    compare.labels.approve[0]: has no value; write one, or leave the key out

compare: {decision: $.d, cost: {approve: 10}}
    compare.cost.approve: "approve" is no miss; write legacy's decision, -> and the agent's: approve->deny

compare: {decision: $.d, cost: {deny->deny: 10}}
    compare.cost["deny->deny"]: "deny->deny" is no miss; write legacy's decision, -> and the agent's: approve->deny

compare: {decision: $.d, cost: {approve->deny: -1}}
    compare.cost["approve->deny"]: -1 is too small; it must be at least 0

compare: {decision: {status: {approve: 200, deny: 403}}, cost: {approve->reject: 2}}
    compare.cost: names reject, which no status stands for

compare: {labels: {approve: [ok]}}
    compare.labels: needs compare.decision, the value that it names

compare: {cost: {approve->deny: 2}}
    compare.cost: needs compare.decision, by which a miss is told

record: {headers: [Authorization]}
    record.headers[0]: "Authorization" carries credentials and is never recorded; leave it out

record: {max_pairs: 1}
    record.max_pairs: 1 is too small; it must be at least 100

key: []
    key: must not be empty

key: client_ip
    key: "client_ip" must be a list

key: [client-ip]
    key[0]: "client-ip" is no key; write {header: NAME}, {cookie: NAME}, {query: NAME} or client_ip

key: [{header: 'a b'}]
    key[0].header: "a b" is no header name; write letters, digits and -, such as x-user-id

key: [client_ip, {cookie: a, coookie: b}]
    key[1].coookie: is no known key; did you mean cookie?

stages: []
    stages: must not be empty

stages: [{name: A, weight: 5}]
    stages[0].name: "A" <name>

stages: [{name: a}]
    stages[0].weight: is missing

stages: [{name: a, weight: 5}, {name: a, weight: 6}]
    stages[1].name: "a" is the name of an earlier stage too

split: {weight: 5, weigth: 6}
    split.weigth: is no known key; did you mean weight?
""")


@pytest.mark.parametrize(("written", "said"), ROLLOUT)
def test_a_bad_value_of_a_rollout(written: str, said: str) -> None:
    assert problems(with_rollout(written)) == [f"c.yaml:13: routes[0].rollout.{said}"]


TOP = table("""
workers: many
    workers: "many" is neither auto nor a whole number from 1 to 256

workers: true
    workers: true is neither auto nor a whole number from 1 to 256

workers: 257
    workers: 257 is neither auto nor a whole number from 1 to 256

listen: {access_log: maybe}
    listen.access_log: "maybe" is neither true nor false

listen: {address: 8080}
    listen.address: 8080 is no address; write host:port, such as 127.0.0.1:8080 or [::1]:8080

listen: {address: "127.0.0.1:65536"}
    listen.address: "127.0.0.1:65536" is no address; write host:port, such as 127.0.0.1:8080 or [::1]:8080

listen: {tls: {cert_file: a}}
    listen.tls.key_file: is missing

listen: {tls: {cert_file: a, key_file: b, min_version: 1.1}}
    listen.tls.min_version: 1.1 is no version of TLS that is safe; write 1.2 or 1.3

listen: {tls: {cert_file: a, key_file: b, client_auth: none}}
    listen.tls.client_auth: "none" is not known; write required or optional

listen: {tls: {cert_file: a, key_file: "-----BEGIN PRIVATE KEY-----\\nhunter2"}}
    listen.tls.key_file: must be the name of a file, not what is in it; write /etc/…, without ${file:…}

listen: {trusted_proxies: [10.0.0.0/33]}
    listen.trusted_proxies[0]: "10.0.0.0/33" is no network; write it as 10.0.0.0/8, fd00::/8 or one address

listen: {trusted_proxies: [10.0.0.1/8]}
    listen.trusted_proxies[0]: "10.0.0.1/8" is an address within a network; write 10.0.0.0/8, or the address without /

admin: {tls: {cert_file: a, key_file: b}}
    admin.tls: is not built yet; keep the admin side on loopback, or terminate TLS in front of it

override: {secret: hunter2}
    override.secret: is shorter than 16 characters

override: hunter2-hunter2-hunter2
    override: must be a mapping of keys

limits: {max_connections: 0}
    limits.max_connections: 0 is too small; it must be at least 1

limits: {min_body_rate: 240}
    limits.min_body_rate: 240 is no size; write a whole number with its unit, such as 512B, 64KiB or 1MiB

limits: {max_headers: 0}
    limits.max_headers: 0 is too small; it must be at least 1

limits: {max_target: 0}
    limits.max_target: 0 is too small; it must be over 0

store: redis+sentinel://h
    store: names no service; write redis+sentinel://host:port,host:port/service or …/service/db

store: redis+cluster://h,i/3
    store: names a database, and a Cluster has none; write redis+cluster://host:port,host:port

store: redis://h,i/0
    store: must be one host, as in redis://host:port/db; several are redis+sentinel or redis+cluster

store: redis+cluster://h:70000
    store: names the port 70000; there are 1 to 65535

store: redis+cluster://h?db=0
    store: has the option 'db', which is none of username, password

store: redis://h/0?decode_responses=true
    store: has the option 'decode_responses', which is none of db, username, password

store: redis://:hunter2@h/0?ssl_cert_reqs=none
    store: has the option 'ssl_cert_reqs', which is none of db, username, password

store: memcached://h
    store: <store>

data_dir: ""
    data_dir: "" must not be empty

drain_timeout: 0s
    drain_timeout: "0s" is too small; it must be over 0

worker: 1
    worker: is no known key; did you mean workers?
""")


@pytest.mark.parametrize(("written", "said"), TOP)
def test_a_bad_value_at_the_top(written: str, said: str) -> None:
    text = SMALL.partition("\n")[2] if written.startswith("admin") else SMALL
    assert problems(f"{written}\n{text}") == [f"c.yaml:1: {said}"]


UPSTREAM = table("""
url: a:80
    url: must be written as http://host:port, https://host:port or with a /base behind

url: http://a:x
    url: must be written as http://host:port, https://host:port or with a /base behind

url: http://a:0
    url: must be written as http://host:port, https://host:port or with a /base behind

url: "http://a b"
    url: must be written as http://host:port, https://host:port or with a /base behind

url: http://u:p@a
    url: must hold no user, query or fragment; put credentials in set_headers

url: http://a/?q
    url: must hold no user, query or fragment; put credentials in set_headers

url: ftp://a
    url: must be written as http://host:port, https://host:port or with a /base behind

retry: {on: [502]}
    retry.on[0]: 502 is not known; did you mean 503?

tls: {ca_fil: a}
    tls.ca_fil: is no known key; did you mean ca_file?

tls: {server_name: "a:443"}
    tls.server_name: "a:443" is no host's name

tls: {ca_file: ""}
    tls.ca_file: "" must not be empty

health_check: {interval: 5s}
    health_check.path: is missing

health_check: {path: healthz}
    health_check.path: "healthz" is no path; it starts with / and holds no space or #

max_inflight: -1
    max_inflight: -1 is too small; it must be at least 0

queue_timeout: 0s
    queue_timeout: "0s" is too small; it must be over 0

set_headers: {Content-Length: "5"}
    set_headers.Content-Length: is Crossfade's own to write; leave it out

set_headers: {x-crossfade-mode: shadow}
    set_headers.x-crossfade-mode: is Crossfade's own to write; leave it out

set_headers: {a: "1", A: "2"}
    set_headers.A: is set twice; upper and lower case make no difference

set_headers: {a b: "1"}
    set_headers["a b"]: "a b" is no header name; write letters, digits and -, such as x-user-id

set_headers: {a: 1}
    set_headers.a: must be text; put it in quotes

remove_headers: [Host]
    remove_headers: must not name host, which every request needs
""")


@pytest.mark.parametrize(("written", "said"), UPSTREAM)
def test_a_bad_value_of_an_upstream(written: str, said: str) -> None:
    url = "" if written.startswith("url") else "    url: http://127.0.0.1:9002\n"
    text = SMALL.replace('  agent: {url: "http://127.0.0.1:9002"}\n', f"  agent:\n{url}    {written}\n")
    assert problems(text) == [f"c.yaml:{6 if url else 5}: upstreams.agent.{said}"]


MATCH = table("""
path_prefix: refunds
    path_prefix: "refunds" is no path; it starts with / and holds no space, ? or #

path_prefix: /a?b
    path_prefix: "/a?b" is no path; it starts with / and holds no space, ? or #

methods: [post]
    methods[0]: "post" is no method; methods are case-sensitive and written in capitals, such as POST

methods: POST
    methods: "POST" must be a list

host: "*.example.com"
    host: "*.example.com" is no host; write it without scheme, port and wildcard, such as refunds.example.com

host: a:80
    host: "a:80" is no host; write it without scheme, port and wildcard, such as refunds.example.com

headers: {x-tenant: 5}
    headers.x-tenant: 5 must be text; put it in quotes
""")


@pytest.mark.parametrize(("written", "said"), MATCH)
def test_a_bad_value_of_a_match(written: str, said: str) -> None:
    assert spoiled("{path_prefix: /refunds}", f"{{{written}}}") == [f"c.yaml:7: routes[0].match.{said}"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: refunds", "name: Refunds", f'c.yaml:6: routes[0].name: "Refunds" {NAME}'),
        ("name: refunds", "name: 5", "c.yaml:6: routes[0].name: 5 must be text; put it in quotes"),
        ('version: "1"', "version: 2026", "c.yaml:11: routes[0].rollout.version: 2026 must be text; put it in quotes"),
        ("salt: refunds-1", "salt: ''", 'c.yaml:12: routes[0].rollout.salt: "" must not be empty'),
        ("salt: refunds-1", "salt: {a: 1}", "c.yaml:12: routes[0].rollout.salt: must be text; put it in quotes"),
        ("    legacy: human\n", "", "c.yaml:6: routes[0].legacy: is missing"),
        (
            "legacy: human",
            "legacy: human\n    upgrades: [h2c]",
            'c.yaml:9: routes[0].upgrades[0]: "h2c" must be websocket',
        ),
    ],
)
def test_a_bad_value_of_a_route(old: str, new: str, said: str) -> None:
    assert spoiled(old, new) == [said]


def test_a_long_value_is_cut() -> None:
    (said,) = spoiled("salt: refunds-1", f"salt: {'x' * 65}")
    assert said == f'c.yaml:12: routes[0].rollout.salt: "{"x" * 60}…" is longer than 64 characters'


def test_a_bad_name_of_an_upstream_has_its_own_line() -> None:
    assert spoiled("  human:", "  Human:") == [f'c.yaml:3: upstreams.Human: "Human" {NAME}']


def test_stages_going_down_are_told_at_the_stage_that_falls() -> None:
    stages = "stages:\n  - {name: a, weight: 5}\n  - {name: b, weight: 50}\n  - {name: c, weight: 12.5}"
    (said,) = problems(with_rollout(stages))
    assert said == (
        "c.yaml:16: routes[0].rollout.stages[2].weight: 12.5 is below the 50 of the stage before;"
        " weights must not fall from one stage to the next"
    )


def test_stages_and_a_split_exclude_each_other() -> None:
    assert problems(with_rollout("stages: [{name: a, weight: 5}]\nsplit: {weight: 5}")) == [
        "c.yaml:14: routes[0].rollout.split: excludes stages; keep one of the two"
    ]


def test_a_list_whose_items_are_bad_is_not_called_empty() -> None:
    assert problems(with_rollout("stages: [{name: a, weight: 500}, {name: b, weight: -1}]")) == [
        "c.yaml:13: routes[0].rollout.stages[0].weight: 500 is not between 0 and 100 percent",
        "c.yaml:13: routes[0].rollout.stages[1].weight: -1 is not between 0 and 100 percent",
    ]


def test_no_routes_and_no_upstreams() -> None:
    assert problems("upstreams: {}\nroutes:\n") == [
        "c.yaml:1: upstreams: must not be empty",
        "c.yaml:2: routes: has no value; write one, or leave the key out",
    ]


def test_a_reference_is_the_subject_as_it_is_written() -> None:
    (said,) = problems("workers: ${N:-lots}\n" + SMALL)
    assert said == "c.yaml:1: workers: ${N:-lots} is neither auto nor a whole number from 1 to 256"
