from typing import Any

import pytest

from proxy.model.spans import CLIENT, Span, SpanEvent
from proxy.outcomes.redact import MASK, Redactor
from proxy.outcomes.steps import MAX_CONTENT, MAX_THOUGHTS, Step, Trail, arrange, make_steps, route_of

REDACTOR = Redactor(["password", "card_number"])
START = 1_800_000_000_000_000_000


def span(number: int = 1, parent: int = 0, *, attributes: dict[str, Any] | None = None, **fields: Any) -> Span:
    return Span(
        trace_id="0af7651916cd43dd8448eb211c80319c",
        span_id=f"{number:016x}",
        parent_id=f"{parent:016x}" if parent else "",
        name=fields.pop("name", "span"),
        start=fields.pop("start", START + number),
        end=START + 500_000_000 + number,
        attributes=attributes or {},
        **fields,
    )


def one(**fields: Any) -> Step:
    (step,) = make_steps(span(**fields), REDACTOR)
    return step


def tool(number: int = 1, parent: int = 0, **attributes: Any) -> Span:
    return span(number, parent, attributes={"gen_ai.tool.name": f"t{number}"} | attributes)


def call(number: int, parent: int, method: str = "POST", name: str = "http.request.method") -> Span:
    return span(number, parent, name=method, kind=CLIENT, attributes={name: method})


def model(number: int = 1, parent: int = 0, *, tokens: int = 0) -> Span:
    counts = {"gen_ai.usage.input_tokens": tokens, "gen_ai.usage.output_tokens": 1} if tokens else {}
    return span(number, parent, attributes={"gen_ai.operation.name": "chat"} | counts)


def agent(number: int = 1, parent: int = 0, **attributes: Any) -> Span:
    return span(number, parent, attributes={"gen_ai.operation.name": "invoke_agent"} | attributes)


def trail(*spans: Span) -> Trail:
    steps = [step for each in spans for step in make_steps(each, REDACTOR)]
    links = {each.span_id: each.parent_id for each in spans if not make_steps(each, REDACTOR)}
    return arrange(steps, links)


# Whose they are


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ("crossfade=shadow:refunds", ("shadow", "refunds")),
        ("vendor=1, crossfade=canary:refunds ,x=2", ("canary", "refunds")),
        ("notcrossfade=shadow:refunds", ("", "")),
        ("", ("", "")),
    ],
)
def test_the_trace_state_says_the_route(state: str, found: tuple[str, str]) -> None:
    assert route_of(span(trace_state=state)) == found


def test_else_an_attribute_of_the_span_or_of_its_resource_does() -> None:
    assert route_of(span(attributes={"crossfade.route": "a"}, resource={"crossfade.route": "b"})) == ("", "a")
    assert route_of(span(resource={"crossfade.route": "b"})) == ("", "b")
    assert route_of(span(attributes={"crossfade.route": 7})) == ("", "")


# What they are


@pytest.mark.parametrize(
    ("attributes", "kind", "name"),
    [
        ({"gen_ai.operation.name": "chat"}, "model", "span"),
        ({"gen_ai.operation.name": "generate_content"}, "model", "span"),
        ({"gen_ai.operation.name": "text_completion"}, "model", "span"),
        ({"gen_ai.operation.name": "embeddings"}, "model", "span"),
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "mail"}, "tool", "mail"),
        ({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "ann"}, "agent", "ann"),
        ({"gen_ai.operation.name": "create_agent"}, "agent", "span"),
        ({"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "w"}, "agent", "w"),
        ({"gen_ai.operation.name": "retrieval"}, "other", "span"),
        ({"gen_ai.operation.name": "something_new"}, "other", "span"),
        ({"gen_ai.request.model": "gpt"}, "model", "span"),
        ({"openinference.span.kind": "LLM"}, "model", "span"),
        ({"openinference.span.kind": "TOOL", "tool.name": "mail"}, "tool", "mail"),
        ({"openinference.span.kind": "AGENT", "agent.name": "ann"}, "agent", "ann"),
        ({"openinference.span.kind": "CHAIN"}, "other", "span"),
        ({"openinference.span.kind": "RETRIEVER"}, "other", "span"),
        ({"traceloop.span.kind": "workflow", "traceloop.entity.name": "w"}, "agent", "w"),
        ({"traceloop.span.kind": "agent", "traceloop.entity.name": "ann"}, "agent", "ann"),
        ({"traceloop.span.kind": "tool", "traceloop.entity.name": "mail"}, "tool", "mail"),
        ({"traceloop.span.kind": "task", "traceloop.entity.name": "sort"}, "other", "sort"),
        ({"llm.request.type": "chat"}, "model", "span"),
        ({"crossfade.step.kind": "reasoning"}, "reasoning", "span"),
    ],
)
def test_each_convention_says_what_a_span_is(attributes: dict[str, Any], kind: str, name: str) -> None:
    step = one(attributes=attributes)
    assert (step["kind"], step["name"]) == (kind, name)


@pytest.mark.parametrize("name", ["reasoning", "agent.thinking", "plan", "Thought"])
def test_a_span_may_say_by_its_name_that_it_reasons(name: str) -> None:
    assert one(name=name)["kind"] == "reasoning"


@pytest.mark.parametrize("name", ["GET /plans", "planet", "span", "unplanned", ""])
def test_these_say_nothing(name: str) -> None:
    assert make_steps(span(name=name), REDACTOR) == []


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.response.model": "m", "gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 3},
        {"gen_ai.request.model": "m", "gen_ai.usage.prompt_tokens": 12, "gen_ai.usage.completion_tokens": 3},
        {"llm.model_name": "m", "llm.token_count.prompt": 12, "llm.token_count.completion": 3.0},
    ],
)
def test_each_convention_counts_tokens(attributes: dict[str, Any]) -> None:
    step = one(attributes={"gen_ai.operation.name": "chat"} | attributes)
    assert (step["model"], step["tokens"]) == ("m", {"input": 12, "output": 3})


@pytest.mark.parametrize("count", ["12", True, -1, float("nan"), float("inf"), [1], 1e300])
def test_what_is_no_count_is_none(count: Any) -> None:
    assert "tokens" not in one(attributes={"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": count})


@pytest.mark.parametrize(
    ("attributes", "arguments", "result"),
    [
        ({"gen_ai.tool.call.arguments": '{"a": 1}', "gen_ai.tool.call.result": {"b": 2}}, {"a": 1}, {"b": 2}),
        ({"input.value": '{"a": 1}', "output.value": "done"}, {"a": 1}, "done"),
        ({"traceloop.entity.input": "[1]", "traceloop.entity.output": "[2]"}, [1], [2]),
        (
            {"gen_ai.prompt.1.content": "b", "gen_ai.prompt.0.role": "user", "gen_ai.completion.0.content": "c"},
            [{"role": "user"}, {"content": "b"}],
            [{"content": "c"}],
        ),
        (
            {"llm.input_messages.0.message.role": "user", "llm.output_messages.0.message.content": "c"},
            [{"role": "user"}],
            [{"content": "c"}],
        ),
    ],
)
def test_each_convention_says_what_went_in_and_out(attributes: dict[str, Any], arguments: Any, result: Any) -> None:
    step = one(attributes={"gen_ai.operation.name": "chat"} | attributes)
    assert (step["arguments"], step["result"]) == (arguments, result)


def test_older_conventions_tell_messages_by_events() -> None:
    events = (
        SpanEvent("gen_ai.user.message", START, {"content": "hello"}),
        SpanEvent("gen_ai.choice", START, {"finish_reason": "stop", "message": "hi"}),
    )
    step = one(attributes={"gen_ai.operation.name": "chat"}, events=events)
    assert (step["arguments"], step["result"]) == ({"content": "hello"}, {"finish_reason": "stop", "message": "hi"})


def test_and_the_newest_by_one_event() -> None:
    details = SpanEvent("gen_ai.client.inference.operation.details", START, {"gen_ai.input.messages": "[1]"})
    assert one(attributes={"gen_ai.operation.name": "chat"}, events=(details,))["arguments"] == [1]


# Errors


def test_an_error_says_what_went_wrong() -> None:
    raised = SpanEvent("exception", START, {"exception.type": "ValueError", "exception.message": "password=hunter2"})
    assert one(attributes={"gen_ai.tool.name": "t"}, failed=True)["error"] == "failed"
    assert one(attributes={"gen_ai.tool.name": "t"}, failed=True, problem="no")["error"] == "no"
    step = one(attributes={"gen_ai.tool.name": "t"}, failed=True, events=(raised,))
    assert step["error"] == f"ValueError: password={MASK}"


def test_an_exception_that_was_caught_is_none() -> None:
    raised = SpanEvent("exception", START, {"exception.type": "ValueError"})
    assert "error" not in one(attributes={"gen_ai.tool.name": "t"}, events=(raised,))


# What is masked and cut


@pytest.mark.parametrize(
    "content",
    [
        '{"card_number": "4111"}',
        {"to": {"Card-Number": "4111"}},
        [{"role": "user", "content": 'Decide on {"card_number": "4111"}'}],
        '[{"parts": [{"content": "{\\"card_number\\": \\"4111\\"}"}]}]',
        "card_number: 4111",
        "https://x/?card_number=4111",
        {"gen.card_number": "4111"},
    ],
)
def test_hidden_members_are_masked_wherever_they_stand(content: Any) -> None:
    for name in ("gen_ai.tool.call.arguments", "gen_ai.tool.call.result"):
        step = one(attributes={"gen_ai.tool.name": "t", name: content})
        assert "4111" not in str(step)
        assert MASK in str(step)


def test_so_are_names_and_thoughts() -> None:
    thought = SpanEvent("reasoning", START, {"content": "password: hunter2"})
    steps = make_steps(span(attributes={"gen_ai.tool.name": "password=hunter2"}, events=(thought,)), REDACTOR)
    assert "hunter2" not in str(steps)


def test_long_contents_are_cut_after_they_were_masked() -> None:
    text = "x" * (MAX_CONTENT - 30) + " password=hunter2 " + "é" * MAX_CONTENT
    step = one(attributes={"gen_ai.tool.name": "t", "gen_ai.tool.call.arguments": {"a": text}})
    assert len(step["arguments"].encode()) <= MAX_CONTENT
    assert step["cut"]
    assert "hunter2" not in step["arguments"]


def test_a_deep_value_ends() -> None:
    deep: Any = "4111"
    for _ in range(200):
        deep = [deep]
    assert "4111" not in str(one(attributes={"gen_ai.tool.name": "t", "input.value": deep}))


# Reasoning


def test_thoughts_hang_on_their_span() -> None:
    thought = SpanEvent("gen_ai.reasoning", START + 7, {"content": "so be it"})
    steps = make_steps(span(attributes={"gen_ai.operation.name": "chat"}, events=(thought,)), REDACTOR)
    assert [(step["kind"], step["parent"], step.get("result")) for step in steps] == [
        ("model", "", None),
        ("reasoning", f"{1:016x}", "so be it"),
    ]


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "reasoning", "content": "so be it"}]}]'},
        {"gen_ai.completion.0.reasoning": "so be it"},
        {
            "llm.output_messages.0.message.contents.0.message_content.type": "reasoning",
            "llm.output_messages.0.message.contents.0.message_content.text": "so be it",
        },
    ],
)
def test_a_models_answer_may_hold_its_reasoning(attributes: dict[str, Any]) -> None:
    _, thought = make_steps(span(attributes={"gen_ai.operation.name": "chat"} | attributes), REDACTOR)
    assert (thought["kind"], thought["result"]) == ("reasoning", "so be it")


def test_a_span_of_no_kind_is_a_step_where_thoughts_hang_on_it() -> None:
    thought = SpanEvent("thinking", START, {"content": "so be it"})
    assert [step["kind"] for step in make_steps(span(events=(thought,)), REDACTOR)] == ["other", "reasoning"]


def test_thoughts_are_bounded() -> None:
    thoughts = tuple(SpanEvent("thinking", START, {}) for _ in range(100))
    assert len(make_steps(span(events=thoughts), REDACTOR)) == 1 + MAX_THOUGHTS


# The trace


def test_what_is_below_spans_that_are_no_steps_finds_its_place() -> None:
    steps = trail(agent(1), span(2, 1), span(3, 2), tool(4, 3)).steps
    assert [(step["depth"], step["parent"]) for step in steps] == [(0, None), (1, f"{1:016x}")]


def test_a_parent_that_never_came_is_none() -> None:
    assert [step["depth"] for step in trail(tool(2, 1), tool(4, 3)).steps] == [0, 0]


def test_spans_that_are_their_own_ancestors_end() -> None:
    assert len(trail(tool(1, 2), tool(2, 1), tool(3, 3), span(5, 6), span(6, 5), tool(7, 5)).steps) == 4


def test_steps_of_the_same_moment_stand_below_each_other() -> None:
    spans = [tool(number, number - 1)._replace(start=START) for number in (3, 2, 1)]
    assert [step["name"] for step in trail(*spans).steps] == ["t1", "t2", "t3"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "post"])
def test_a_tool_that_called_so_has_written(method: str) -> None:
    steps = trail(tool(1), span(2, 1), call(3, 2, method)).steps
    assert [step["writes"] for step in steps] == [True, True]


@pytest.mark.parametrize("word", ["INSERT", "UPDATE", "DELETE"])
def test_so_has_one_with_such_a_statement(word: str) -> None:
    assert trail(tool(1), call(2, 1, word, "db.operation.name")).steps[0]["writes"] is True


@pytest.mark.parametrize("method", ["GET", "HEAD", "SELECT"])
def test_one_that_was_seen_reading_may_have_written(method: str) -> None:
    assert trail(tool(1), call(2, 1, method)).steps[0]["writes"] is None


@pytest.mark.parametrize("told", [True, False])
def test_what_the_tool_says_of_itself_counts(told: bool) -> None:
    assert trail(tool(1, **{"crossfade.tool.writes": told}), call(2, 1)).steps[0]["writes"] is told


def test_the_servers_side_of_a_call_is_no_action() -> None:
    assert trail(tool(1), call(2, 1)._replace(kind=2)).steps[0]["writes"] is None


def test_what_a_model_was_called_over_is_no_action_of_the_agent() -> None:
    found = trail(tool(1), model(2, 1), call(3, 2))
    assert [(step["kind"], step["writes"]) for step in found.steps] == [("tool", None), ("model", None)]
    assert found.totals["writes"] == 0


def test_an_agents_own_call_is_an_action() -> None:
    found = trail(agent(1), call(2, 1))
    assert [(step["kind"], step["writes"]) for step in found.steps] == [("agent", None), ("other", True)]
    assert found.totals["writes"] == 1


def test_a_call_that_a_tool_made_is_the_tools() -> None:
    assert trail(tool(1), call(2, 1), call(3, 1)).totals["writes"] == 1


def test_tokens_are_counted_once() -> None:
    whole = {"gen_ai.usage.input_tokens": 30, "gen_ai.usage.output_tokens": 2}
    # The agent says what its models say, and the second model's step is part of the first.
    found = trail(agent(1, **whole), model(2, 1, tokens=10), model(3, 2, tokens=10), model(4, 1, tokens=20))
    assert found.totals["tokens"] == {"input": 30, "output": 2}


def test_an_agent_that_speaks_for_its_models_counts() -> None:
    whole = {"gen_ai.usage.input_tokens": 30, "gen_ai.usage.output_tokens": 2}
    assert trail(agent(1, **whole), agent(2, 1, **whole), model(3, 2)).totals["tokens"] == {"input": 30, "output": 2}


def test_every_field_is_shown() -> None:
    (step,) = trail(tool(1)).steps
    assert step == {
        "id": f"{1:016x}", "parent": None, "depth": 0, "kind": "tool", "name": "t1", "at": "2027-01-15T08:00:00.000Z",
        "duration": 0.5, "model": None, "provider": None, "tokens": None, "arguments": None, "result": None,
        "finish": None, "call": None, "error": None, "action": None, "writes": None, "cut": False,
    }  # fmt: skip
