"""The page of one escalation: what a human needs to take over from the agent. It is made here and runs nothing.

What the agent has done already stands on top, above all what it changed: the human must not do that again. Then come
the request, why the agent could not, what it had so far, each step it told of, and what legacy answered.
"""

from typing import Any, Final

from proxy.admin.markup import Html, content, element, join, names, page

STYLE: Final = """
:root{color-scheme:light dark;--ink:#1a1c1f;--soft:#5b626b;--page:#f5f6f7;--card:#fff;--line:#d9dde2;--warn:#8a3b00;
--warnbg:#fff3e6;--bad:#a3141f}
@media(prefers-color-scheme:dark){:root{--ink:#e7e9ec;--soft:#a2a9b3;--page:#15171a;--card:#1e2125;--line:#363b42;
--warn:#ffb066;--warnbg:#33230f;--bad:#ff8a8a}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1rem}
h1{font-size:1.4rem;line-height:1.25;margin:.5rem 0 1rem}
h2{font-size:1.1rem;margin:0 0 .5rem}
h3{font-size:1rem;margin:.75rem 0 .25rem}
section{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:1rem;margin:0 0 1rem}
section.done{background:var(--warnbg);border-color:var(--warn)}
section.done h2{color:var(--warn)}
dl{margin:0}
dl>div{display:grid;grid-template-columns:9rem minmax(0,1fr);gap:.1rem .75rem;padding:.15rem 0}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere;unicode-bidi:isolate}
pre{margin:.25rem 0;padding:.75rem;background:var(--page);border:1px solid var(--line);border-radius:.35rem;
font:13px/1.45 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:plaintext;
max-height:30rem;overflow-y:auto}
section>:last-child{margin-bottom:0}
ol{margin:0;padding:0;list-style:none}
li{padding:.5rem 0;border-top:1px solid var(--line)}
li:first-child{border-top:0}
.in1{margin-left:1rem}.in2{margin-left:2rem}.in3{margin-left:3rem}
.none,.small{color:var(--soft);margin:.25rem 0}
.small{font-size:.875rem;overflow-wrap:anywhere}
.bad{color:var(--bad);overflow-wrap:anywhere}
.writes{color:var(--warn);font-weight:600}
b{overflow-wrap:anywhere;unicode-bidi:isolate}
summary{cursor:pointer;color:var(--soft)}
@media(max-width:34rem){main{padding:.5rem}section{padding:.75rem}dl>div{grid-template-columns:1fr}
.in1,.in2,.in3{margin-left:.75rem}}
"""

MAX_STEPS: Final = 200
"""Steps that the page shows; the rest are counted."""

_WHY: Final = {
    "connect_failure": "the agent could not be reached",
    "timeout": "the agent did not answer in time",
    "reset": "the agent broke off",
    "overload": "the agent had too much to do",
    "5xx": "the agent failed",
    "escalation": "the agent asked for a human",
    "confidence": "the agent was too unsure of its answer",
}


def show(found: dict[str, Any]) -> str:
    """`found` is an escalation as an `EscalationReader` gives it."""
    pair, why = found["pair"], _WHY.get(found["reason"], found["reason"])
    title = f"Handed over: {why}"
    if "unreadable" in pair:
        return page(title, STYLE, element("h1", title), _section("It cannot be read", element("p", pair["unreadable"])))
    steps = pair.get("steps") or []
    return page(
        title,
        STYLE,
        element("h1", title),
        _done(steps),
        _overview(found, pair),
        _request(pair.get("request") or {}),
        _agent(pair.get("agent") or {}),
        _steps(steps, pair.get("step_totals") or {}),
        _legacy(pair.get("legacy"), pair.get("revisions") or []),
        _numbers(found, pair),
    )


def tell(title: str, *sentences: str, refresh: str = "") -> str:
    """A page that says why there is none."""
    return page(title, STYLE, element("h1", title), *(element("p", text) for text in sentences), refresh=refresh)


def writes(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The steps that are known to have changed something; what a tool did inside is the tool's."""
    by_id = {step.get("id"): step for step in steps}
    return [step for step in steps if step.get("writes") is True and not _within(step, by_id)]


def _within(step: dict[str, Any], by_id: dict[Any, dict[str, Any]]) -> bool:
    """It is below a tool that is known to have written."""
    met = {step.get("id")}
    parent = by_id.get(step.get("parent"))
    while parent is not None and parent.get("id") not in met:
        if parent.get("kind") == "tool" and parent.get("writes") is True:
            return True
        met.add(parent.get("id"))
        parent = by_id.get(parent.get("parent"))
    return False


def _done(steps: list[dict[str, Any]]) -> Html:
    """What must not be done twice. Who was not seen writing may still have written, and that is said."""
    known = writes(steps)
    doubtful = [step for step in steps if step.get("kind") == "tool" and step.get("writes") is None]
    parts: list[Html] = []
    if known:
        parts.append(element("ol", *(_step(step, indented=False) for step in known)))
    elif steps:
        parts.append(element("p", "The agent told of no change that it made."))
    else:
        parts.append(
            element("p", "The agent told of no steps, so what it did is not known. Look before you do anything twice.")
        )
    if doubtful:
        called = ", ".join(dict.fromkeys(str(step.get("name")) for step in doubtful))
        parts.append(element("p", "It is not known whether these changed anything: ", element("b", called)))
    title = f"Already done: {_count(len(known), 'change')}" if known else "Already done: nothing that is known"
    return _section(title, *parts, class_="done")


def _overview(found: dict[str, Any], pair: dict[str, Any]) -> Html:
    rows = [
        ("why", f"{_WHY.get(found['reason'], found['reason'])} ({found['reason']})"),
        ("said", found["detail"]),
        ("asked at", _time(found["at"])),
        ("agent took", _seconds(found["duration"])),
        ("route", found["route"]),
        ("version", f"{pair.get('version')}, stage {pair.get('stage')}"),
    ]
    return _section("What happened", names(rows))


def _request(request: dict[str, Any]) -> Html:
    return _section(
        "The request",
        names([("asked", f"{request.get('method')} {request.get('target')}"), *_headers(request)]),
        content(request.get("body")),
        _cut(request),
    )


def _agent(agent: dict[str, Any]) -> Html:
    rows = [
        ("status", agent.get("status") or "no answer"),
        ("failed with", agent.get("error")),
        ("decision", _plain(agent.get("decision"))),
        ("took", _seconds(agent.get("duration"))),
        *_headers(agent),
    ]
    return _section("What the agent had so far", names(rows), content(agent.get("body")), _cut(agent))


def _legacy(legacy: dict[str, Any] | None, revisions: list[dict[str, Any]]) -> Html:
    title = "What the human workflow answered"
    if legacy is None:
        return _section(title, element("p", "Nothing yet: it is with you now.", class_="none"))
    rows = [
        ("status", legacy.get("status") or "no answer"),
        ("failed with", legacy.get("error")),
        ("decision", _plain(legacy.get("decision"))),
        ("took", _seconds(legacy.get("duration"))),
        *_headers(legacy),
        *(
            ("decided", f"{each['decision']}, {_time(each['decided_at'])} by {each['by'] or 'unknown'}")
            for each in revisions
        ),
    ]
    return _section(title, names(rows), content(legacy.get("body")), _cut(legacy))


def _steps(steps: list[dict[str, Any]], totals: dict[str, Any]) -> Html:
    if not steps:
        return _section("Its steps", element("p", "The agent told of none.", class_="none"))
    tokens = totals.get("tokens") or {}
    told = [
        _count(totals.get("tool_calls", 0), "tool call"),
        _count(totals.get("model_calls", 0), "model call"),
        _count(totals.get("errors", 0), "error"),
        f"{tokens.get('input', 0):,} tokens in, {tokens.get('output', 0):,} out",
    ]
    left = len(steps) - MAX_STEPS + totals.get("left_out", 0) if len(steps) > MAX_STEPS else totals.get("left_out", 0)
    return _section(
        f"Its steps ({len(steps)})",
        element("p", ", ".join(told), class_="small") if totals else None,
        element("ol", *(_step(step) for step in steps[:MAX_STEPS])),
        element("p", f"and {left:,} more that are not shown", class_="none") if left else None,
    )


def _step(step: dict[str, Any], *, indented: bool = True) -> Html:
    depth = min(int(step.get("depth") or 0), 3) if indented else 0
    said = [step.get("kind"), step.get("action"), step.get("model"), _time(step.get("at")), _seconds(step["duration"])]
    inside = [
        element("details", element("summary", name), content(step[name]))
        if indented
        else join(element("h3", name), content(step[name]))
        for name in ("arguments", "result")
        if step.get(name) is not None
    ]
    return element(
        "li",
        element("b", step.get("name")),
        element("span", " changed something", class_="writes") if step.get("writes") is True and indented else None,
        element("div", " · ".join(str(part) for part in said if part), class_="small"),
        element("div", f"failed: {step['error']}", class_="bad") if step.get("error") else None,
        *inside,
        element("div", "cut off: it was too long", class_="small") if step.get("cut") else None,
        **({"class_": f"in{depth}"} if depth else {}),
    )


def _numbers(found: dict[str, Any], pair: dict[str, Any]) -> Html:
    rows = [
        ("escalation", found["id"]),
        ("request", found["request_id"]),
        ("trace", found["trace_id"]),
        ("pair", found["pair_id"]),
        ("verdict", f"{pair.get('verdict') or 'none'}: {pair.get('verdict_reason') or ''}".rstrip(": ")),
        ("all as JSON", f"/api/v1/escalations/{found['route']}/{found['id']} (with a viewer's token)"),
    ]
    return _section("To find it again", names(rows))


def _headers(outcome: dict[str, Any]) -> list[tuple[str, Any]]:
    return list((outcome.get("headers") or {}).items())


def _cut(outcome: dict[str, Any]) -> Html | None:
    return element("p", "Only the beginning was kept.", class_="none") if outcome.get("truncated") else None


def _section(title: str, *inside: Html | None, **attributes: str) -> Html:
    return element("section", element("h2", title), *inside, **attributes)


def _plain(value: Any) -> str | None:
    return None if value is None else str(value)


def _time(at: Any) -> str:
    return str(at).replace("T", " ").replace("Z", " UTC") if at else ""


def _seconds(value: Any) -> str:
    if not isinstance(value, int | float):
        return ""
    return f"{value:.1f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
