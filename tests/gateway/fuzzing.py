"""What the fuzzers of `test_fuzz.py` send: requests that OpenAPI allows and such that it forbids, frames with meaning and
without.

Theory: nonsense is found in the first line of a reader. So most of what is drawn is nearly right: a sample with one value
exchanged, an id that exists under a role that it is not for.
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway import fragments, rest_media
from gateway.client_messages import CLIENT_TYPES
from gateway.openapi import document
from gateway.samples import CLIENT_SAMPLES

ROLES = ("customer", "agent", "supervisor", "operator")
SUBJECT_BY_ROLE = {"customer": "c-1", "agent": "a-1", "supervisor": "s-1", "operator": "o-1"}
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
"""Not those of schemathesis that judge whether a request was right to be refused: one of the right form may name nothing."""
REQUEST_S_MAX = 10.0
for media_type in (rest_media.SDP, fragments.MEDIA_TYPE):
    schemathesis.serializer.alias(media_type, "text/plain")


def rest_fuzzer(
    base: str, tokens: dict[str, str], call_ids: list[str], examples: int, run: int, until_s: float
) -> Iterator[tuple[str, int]]:
    """Ask everything of the gateway at `base`; yields each operation's label with how often it was asked. For a thread."""
    schema = schemathesis.openapi.from_dict(document())
    with requests.Session() as session:
        for found in schema.get_all_operations():
            if time.monotonic() > until_s:
                return
            operation, counted = found.ok(), list[int]()
            modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
            cases = st.one_of(*(operation.as_strategy(mode) for mode in modes))
            roles, ids = st.sampled_from(ROLES), st.sampled_from([None, *call_ids])
            ask = _asking(base, session, tokens, counted)
            bounded(given(case=cases, role=roles, call_id=ids)(ask), examples, run)()
            yield operation.label, len(counted)


def _asking(base: str, session: requests.Session, tokens: dict[str, str], counted: list[int]) -> Callable[..., None]:
    def ask(case: Any, role: str, call_id: str | None) -> None:
        if call_id is not None and "id" in (case.path_parameters or {}):
            case.path_parameters["id"] = call_id
        headers = {"Authorization": f"Bearer {tokens[role]}"}
        response = case.call(base_url=base, session=session, headers=headers, timeout=REQUEST_S_MAX)
        assert response.status_code < 500 or response.status_code == 503, response.text
        assert "Traceback" not in response.text
        # Another method than the entry's, or a path that a client's library made shorter, is no operation at all.
        if response.status_code != 405:
            case.validate_response(response, checks=CHECKS)
        counted.append(1)

    return ask


def bounded(test: Callable[..., Any], examples: int, run: int) -> Callable[..., Any]:
    """`test` with so many examples, the same in every run of this number."""
    made: Callable[..., Any] = seed(run)(
        settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )(test)
    )
    return made


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def messages(draw: st.DrawFn, role: str, ids: list[str]) -> dict[str, Any]:
    """A message that `role` may nearly send: a sample with some fields exchanged, taken out or put in."""
    names = [name for name, one in CLIENT_SAMPLES.items() if one.TYPE in CLIENT_TYPES[role]] or list(CLIENT_SAMPLES)
    name = draw(st.sampled_from(names) | st.sampled_from(list(CLIENT_SAMPLES)))
    sample = CLIENT_SAMPLES[name]
    data = msgspec.to_builtins(sample)
    for field in list(data):
        how = draw(st.integers(0, 9))
        if field in ("call_id", "reservation_id") and how < 8:
            data[field] = draw(st.sampled_from(ids))
        elif how == 8:
            data[field] = draw(JSON_VALUES)
        elif how == 9:
            del data[field]
    envelope: dict[str, Any] = {"v": 1, "id": draw(st.text(min_size=1, max_size=64)), "type": sample.TYPE, "data": data}
    if draw(st.integers(0, 9)) == 9:
        envelope[draw(st.sampled_from(["v", "id", "type", "data", "traceparent", "other"]))] = draw(JSON_VALUES)
    return envelope


def frames(role: str, ids: list[str]) -> st.SearchStrategy[bytes | str | dict[str, Any]]:
    """One frame: mostly a message, now and then text or bytes of any kind."""
    near = messages(role, ids)
    return st.one_of(near, near, near, near, st.text(max_size=200), st.binary(max_size=200))


def encoded(frame: bytes | str | dict[str, Any], is_text: bool) -> bytes | str:
    """A frame as it is sent; what MessagePack cannot hold goes as JSON bytes, which are nonsense there."""
    if not isinstance(frame, dict):
        return frame
    if is_text:
        return json.dumps(frame, ensure_ascii=True)
    try:
        return msgspec.msgpack.encode(frame)
    except (OverflowError, UnicodeEncodeError):
        return json.dumps(frame).encode()
