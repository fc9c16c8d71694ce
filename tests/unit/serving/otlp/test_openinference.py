"""OpenInference's spans."""

from __future__ import annotations

import pytest

from schemas.event import Operation
from serving.otlp.openinference import read_openinference
from tests.unit.serving.otlp.world import span

LLM = {
    "openinference.span.kind": "LLM",
    "llm.provider": "openai",
    "llm.model_name": "gpt-5",
    "llm.token_count.prompt": 11,
    "llm.token_count.prompt_details.cache_read": 4,
    "llm.token_count.completion": 5,
    "llm.finish_reason": "stop",
    "user.id": "u-1",
}


def test_what_it_tells() -> None:
    found = read_openinference(span(attributes=LLM))
    assert found is not None
    assert (found.operation, found.provider, found.model) == (Operation.CHAT, "openai", "gpt-5")
    assert (found.input_tokens, found.cached_input_tokens, found.output_tokens) == (11, 4, 5)
    assert (found.finish_reasons, found.user_id) == (("stop",), "u-1")
    assert (found.stream, found.ttft_s, found.status_code) == (None, None, None)


def test_its_first_token_shows_a_stream() -> None:
    happened = [("First Token Stream Event", 0.25, {})]
    found = read_openinference(span(attributes=LLM, happened=happened))
    assert found is not None
    assert (found.stream, found.ttft_s) == (True, 0.25)


@pytest.mark.parametrize(
    ("parameters", "model", "stream"),
    [
        ('{"model": "m", "stream": true}', "m", True),
        ('{"model": "m"}', "m", False),
        ('{"model": 7, "stream": "yes"}', None, None),
        ("{}", None, None),
        ("{", None, None),
        ("[]", None, None),
        ("x" * 70_000, None, None),
        (7, None, None),
    ],
)
def test_without_an_answer_the_parameters_tell(
    parameters: object, model: str | None, stream: bool | None
) -> None:
    asked = {"openinference.span.kind": "LLM", "llm.invocation_parameters": parameters}
    found = read_openinference(span(attributes=asked))
    assert found is not None
    assert (found.model, found.stream) == (model, stream)


@pytest.mark.parametrize(
    ("answer", "request_id"),
    [
        ('{"id":"chatcmpl-1","choices":[]}', "chatcmpl-1"),
        ('{ "id" : "chatcmpl-1" }', "chatcmpl-1"),
        ('{"choices": [{"id": "x"}]}', None),
        ('{"id": 7}', None),
        ("hello", None),
        (7, None),
    ],
)
def test_the_id_is_where_the_answer_begins(answer: object, request_id: str | None) -> None:
    found = read_openinference(span(attributes=LLM | {"output.value": answer}))
    assert found is not None
    assert found.request_id == request_id


def test_embeddings_are_requests() -> None:
    kind = {"openinference.span.kind": "EMBEDDING", "embedding.model_name": "e-5"}
    found = read_openinference(span(attributes=kind))
    assert found is not None
    assert (found.operation, found.model) == (Operation.EMBEDDINGS, "e-5")


@pytest.mark.parametrize(
    "kind", ["CHAIN", "TOOL", "AGENT", "RETRIEVER", "RERANKER", "GUARDRAIL", "EVALUATOR", "", None]
)
def test_other_kinds_are_not(kind: str | None) -> None:
    changed = LLM | {"openinference.span.kind": kind}
    assert read_openinference(span(attributes=changed)) is None
