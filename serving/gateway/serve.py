"""Serve one request: read it, decide where it goes, ask, and hand the answer over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

import structlog

from schemas.event import Operation
from schemas.settings import GatewaySettings
from serving.emit.declared import declare
from serving.emit.emission import Emission
from serving.emit.exchange import Exchange
from serving.emit.joined import FACTS_HEADER, read_facts
from serving.emit.middleware import EXCHANGE_KEY, Receive, Scope, Send
from serving.emit.operations import operation_of
from serving.emit.request import parse_body, parse_headers
from serving.gateway import metrics
from serving.gateway.asked import Asked, read_asked
from serving.gateway.attempt import Question, Trouble
from serving.gateway.body import read_body
from serving.gateway.chain import Answered, Chain, Exhausted
from serving.gateway.dialect import Wording
from serving.gateway.flow import FLOW_KEY, ClientStalledError, Flow
from serving.gateway.in_force import FlagWatch, InForce
from serving.gateway.limits import Identity, Limited, RateLimiter
from serving.gateway.model import GatewayFile
from serving.gateway.relay import relay, send_reply
from serving.gateway.replies import Reply, error_event, error_reply
from serving.gateway.route import Decision, Denied, Hop, decide
from serving.gateway.shadow import Shadows
from serving.gateway.upstream import Upstream
from serving.gateway.whole_events import WholeEvents

__all__ = ["Server"]

_FACTS: Final = FACTS_HEADER.decode()
_log = structlog.get_logger("tocsin.gateway")

_EXHAUSTED: Final[Mapping[Trouble | None, tuple[int, str, str]]] = {
    None: (503, "no_upstream", "No upstream can be asked at the moment."),
    Trouble.UNREACHABLE: (503, "upstream_unreachable", "The upstream cannot be reached."),
    Trouble.TIMEOUT: (504, "upstream_timeout", "The upstream did not answer in time."),
    Trouble.ERROR: (502, "upstream_error", "The upstream failed."),
    Trouble.BROKEN: (502, "upstream_died", "The upstream broke off before it answered."),
    Trouble.BAD_ANSWER: (502, "upstream_garbage", "The upstream sent what is no answer."),
    Trouble.RATE_LIMITED: (429, "rate_limit_exceeded", "The upstream is busy."),
    Trouble.REFUSED_KEY: (502, "upstream_refused_key", "The upstream refused the gateway's key."),
    Trouble.NOT_THERE: (502, "upstream_lacks_model", "The upstream does not have the model."),
}


class Server:
    """What the gateway's application does between the middleware and the upstreams.

    Args:
        file: upstreams and models.
        settings: limits of time and size.
        chain: the upstreams.
        flags: what is in force.
        limiter: rate limits.
        emission: whose clock counts, and where facts are joined.
    """

    def __init__(
        self,
        file: GatewayFile,
        settings: GatewaySettings,
        chain: Chain,
        flags: FlagWatch,
        limiter: RateLimiter,
        emission: Emission,
    ) -> None:
        self._file = file
        self._settings = settings
        self._chain = chain
        self._flags = flags
        self._limiter = limiter
        self._emission = emission
        self._now: Callable[[], float] = emission.clock.monotonic
        self._turn = 0
        self._unjoined: set[str] = set()
        self.shadows = Shadows()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request that makes a model compute."""
        flow: Flow = scope[FLOW_KEY]
        try:
            async with asyncio.timeout(self._settings.total_timeout_s):
                await self._serve(scope, receive, send, flow)
        except TimeoutError:
            operation = operation_of(scope) or Operation.OTHER
            text = f"The request took longer than {self._settings.total_timeout_s:g} s."
            if flow.started and not flow.streaming:
                raise ClientStalledError(text) from None  # a part of a whole answer is none
            if flow.started:
                flow.unwatch()
                body = error_event(operation, "total_timeout", text, 504)
                await send({"type": "http.response.body", "body": body})
            else:
                await send_reply(error_reply(504, "total_timeout", text, close=True), flow, send)
        finally:
            flow.unwatch()

    async def _serve(self, scope: Scope, receive: Receive, send: Send, flow: Flow) -> None:
        body = await read_body(
            receive,
            limit=self._settings.body_bytes,
            timeout_s=self._settings.body_timeout_s,
            keep=flow.refusal is None,
        )
        if body is None:
            return
        operation = operation_of(scope) or Operation.OTHER
        asked = body if isinstance(body, Reply) else flow.refusal or read_asked(operation, body)
        if isinstance(asked, Reply):
            await send_reply(asked, flow, send)
            return
        who, request_id = self._who(scope, asked, flow)
        flags = self._flags.now
        granted = self._limiter.admit(who, asked.prompt_tokens, self._now(), flags.limits)
        if isinstance(granted, Limited):
            metrics.LIMITED.labels(self._limiter.profile(flags.limits)).inc()
            await send_reply(_limited(granted), flow, send)
            return
        flow.grant = granted
        decision = self._decide(flags, asked, who, request_id)
        if isinstance(decision, Denied):
            await send_reply(_denied(decision), flow, send)
            return
        exchange = scope.get(EXCHANGE_KEY)
        if isinstance(exchange, Exchange):
            flow.told_all = lambda: exchange.told_all
        flow.watch(receive)
        await self._answer(scope, send, flow, asked, decision, flags)

    async def _answer(
        self,
        scope: Scope,
        send: Send,
        flow: Flow,
        asked: Asked,
        decision: Decision,
        flags: InForce,
    ) -> None:
        settings = self._settings
        question = Question(
            stream=asked.stream,
            answer_bytes=settings.answer_bytes,
            patience_s=settings.first_token_timeout_s
            if asked.stream
            else settings.answer_timeout_s,
        )

        path = str(scope["path"])
        failures: list[str] = []

        def prepare(hop: Hop, upstream: Upstream) -> tuple[Wording, Mapping[str, str]]:
            wording = upstream.dialect.word(
                path, asked, hop.model, ask_usage=_hides_usage(asked, upstream)
            )
            return wording, upstream.headers(wording, scope["headers"], strict=flags.strict)

        def begin(hop: Hop, upstream: Upstream) -> tuple[Wording, Mapping[str, str]]:
            # Said at once, so that a client that leaves before the answer counts where it waited.
            _declare(scope, hop, upstream, failures)
            return prepare(hop, upstream)

        hops = self._fitting(decision.hops, path, asked)
        if isinstance(hops, Reply):
            await send_reply(hops, flow, send)
            return
        shadow = decision.shadow
        if shadow is not None and not isinstance(self._fitting([shadow], path, asked), Reply):
            upstream = self._chain.upstreams[shadow.upstream]
            self.shadows.send(shadow, upstream, question, *prepare(shadow, upstream))
        result = await self._chain.ask(hops, question, begin, failures)
        if isinstance(result, Exhausted):
            if failures:
                last = result.hop
                _declare(scope, last, self._chain.upstreams[last.upstream], failures)
            await send_reply(_exhausted(result), flow, send)
            return
        await self._hand_over(scope, send, flow, asked, result)

    def _fitting(self, hops: Sequence[Hop], path: str, asked: Asked) -> Sequence[Hop] | Reply:
        """Return the hops that can be asked this at all, or why none of them can."""
        fitting: list[Hop] = []
        first: Reply | None = None
        for hop in hops:
            misfit = self._chain.upstreams[hop.upstream].dialect.misfit(path, asked)
            if misfit is None:
                fitting.append(hop)
            else:
                first = first or misfit
        return fitting or first or hops

    async def _hand_over(
        self, scope: Scope, send: Send, flow: Flow, asked: Asked, answered: Answered
    ) -> None:
        opened, upstream = answered.opened, answered.upstream
        joined = upstream.entry.joined
        if joined and _FACTS not in opened.response.headers:
            self._not_joined(upstream.name)
        events = WholeEvents(usage=_hides_usage(asked, upstream), facts=joined)
        trouble: Trouble | None = None
        gone = True
        try:
            trouble = await relay(
                opened, asked.operation, events, flow, send, limit=self._settings.answer_bytes
            )
            gone = False
        finally:
            # A whole answer has been read to its end, and the connection is free again.
            if not opened.whole and (gone or trouble is not None):
                opened.response.close()
            exchange = scope.get(EXCHANGE_KEY)
            if isinstance(exchange, Exchange) and exchange.told_all:
                gone = False  # who hangs up then has not left early
                if trouble is None and exchange.answer.error_type is not None:
                    trouble = Trouble.ERROR  # the stream ended well, with the upstream's own error
            self._chain.ended(answered, trouble, gone=gone)
            self._learn(scope, events, joined=joined)

    def _learn(self, scope: Scope, events: WholeEvents, *, joined: bool) -> None:
        """Put what was taken out of the answer where the event is made."""
        state: dict[str, Any] = scope["state"]
        exchange = scope.get(EXCHANGE_KEY)
        if joined and events.facts:
            engine_id = f"chatcmpl-{id(scope):x}"  # nobody else's while the scope lives
            record = read_facts(events.facts, state, engine_id, self._now())
            if record is not None:
                self._emission.join.add(record)
        elif events.usage is not None and isinstance(exchange, Exchange):
            exchange.answer.take_usage(events.usage)

    def _who(self, scope: Scope, asked: Asked, flow: Flow) -> tuple[Identity, str]:
        """Return who asks, and the request's id."""
        exchange = scope.get(EXCHANGE_KEY)
        if isinstance(exchange, Exchange) and exchange.asked is not None:
            sender, body = exchange.sender, exchange.asked
        else:
            sender = parse_headers(scope["headers"])
            body = parse_body(asked.operation, asked.body, want_prompt=False)
        who = Identity(
            user=sender.user_id or body.user_id,
            plan=sender.plan or body.plan,
            feature=sender.feature or body.feature,
            key=flow.key.name if flow.key else None,
        )
        return who, sender.request_id or ""

    def _decide(
        self, flags: InForce, asked: Asked, who: Identity, request_id: str
    ) -> Decision | Denied:
        self._turn += 1
        return decide(
            self._file,
            flags,
            asked.model,
            replace(asked.facts, plan=who.plan, feature=who.feature),
            user=who.user,
            request_id=request_id,
            load=self._chain.load,
            turn=self._turn,
        )

    def _not_joined(self, upstream: str) -> None:
        metrics.UNJOINED.labels(upstream).inc()
        if upstream not in self._unjoined:
            self._unjoined.add(upstream)
            _log.warning(
                "an upstream does not join its view: its requests may be counted twice; does its "
                "middleware have the gateway's TOCSIN_EMIT__GATEWAY_TOKEN?",
                upstream=upstream,
            )


def _hides_usage(asked: Asked, upstream: Upstream) -> bool:
    """Tell whether an upstream tells a usage, asked or not, for which the client did not ask."""
    tells = upstream.dialect.tells_usage or upstream.entry.ask_usage
    return asked.hides_usage and tells and not upstream.entry.joined


def _declare(scope: Scope, hop: Hop, upstream: Upstream, failures: Sequence[str]) -> None:
    declare(
        scope,
        model_version=hop.version,
        provider=upstream.entry.provider,
        server=upstream.address,
        route=hop.route,
        failed_attempts=failures,
    )


def _limited(limited: Limited) -> Reply:
    return error_reply(
        429,
        "rate_limit_exceeded",
        f"Rate limit reached: {limited.reason}.",
        code="rate_limit_exceeded",
        retry_after_s=limited.wait_s,
    )


def _denied(denied: Denied) -> Reply:
    return error_reply(
        denied.status, denied.kind, denied.message, code=denied.code, param=denied.param
    )


def _exhausted(result: Exhausted) -> Reply:
    """Return the last upstream's own words where it had any, else ours."""
    failed = result.failed
    if failed is not None and failed.body is not None and failed.status is not None:
        reply = Reply(failed.status, failed.body)
    else:
        status, kind, message = _EXHAUSTED[failed.trouble if failed else None]
        reply = error_reply(status, kind, message)
    if failed is None or not failed.retry_after:
        return reply
    after = quote(failed.retry_after[:64], safe=" ,:;").encode()
    return replace(reply, headers=(*reply.headers, (b"retry-after", after)))
