"""REST about a party's media, for clients without a WebSocket: WHIP (RFC 9725) to send, and its counterpart WHEP to receive.

Rules: of RFC 9725, as docs/protocol.md lists them. WHIP carries one direction, so a party posts twice: to `whip` what its
camera sends, to `whep` for what the other party sends. Both are links of the same party in the same room; `rtc.sdp_offer` is a
link for both. A link is replaced by a newer one of its direction.

Theory: this process keeps nothing of a session, since any gateway may get its next request: the address of the session names
attempt and link, and the worker has the link. ICE cannot be restarted within a link, so its entity tag never changes;
a client posts anew instead, and the old link goes on until the new one flows.

Not here: fragments (`gateway/fragments.py`), ICE servers (`gateway/ice.py`), preflights (`gateway/cors.py`).
"""

import re
import time
from typing import NamedTuple

from aiohttp import hdrs, web
from multidict import CIMultiDict

from actors.media_items import Candidates, LeaveOrder, SdpOffer
from dispatch.views import RoomView
from gateway import answers, fragments, talk
from gateway.client_fields import SDP_LENGTH_MAX
from gateway.ice import ice_links
from gateway.messages import Role
from gateway.operations import Asked, Operation
from gateway.refusals import Refused
from gateway.speaker import Speaker

SDP = "application/sdp"
PARTIES: tuple[Role, ...] = ("customer", "agent")

_SESSION = re.compile(r"(\d{1,7})-([0-9a-f]{32})")


class _Link(NamedTuple):
    """A session's link, and the room that it is in."""

    room: RoomView
    link_id: str


async def send_media(asked: Asked) -> web.StreamResponse:
    """The body is an SDP offer with at most one audio and one video section, each `sendonly` or `sendrecv`, bundled. The answer
    is `recvonly`; `Location` is the session's address, `ETag` names its ICE session, `Link` the ICE servers."""
    return await _open(asked, "up")


async def receive_media(asked: Asked) -> web.StreamResponse:
    """The body is an SDP offer with at most one audio and one video section, each `recvonly` or `sendrecv`, bundled. The answer
    is `sendonly`; otherwise as `whip`. Who only receives counts as absent: send as well."""
    return await _open(asked, "down")


async def _open(asked: Asked, flow: str) -> web.StreamResponse:
    speaker, call_id = asked.speaker, asked.path["id"]
    if len(asked.body) > SDP_LENGTH_MAX:
        raise Refused("too_large", f"an offer has at most {SDP_LENGTH_MAX} characters")
    room = await talk.open_room(speaker, call_id)
    offer = SdpOffer(call_id, room.attempt, speaker.identity.role, asked.body, flow)  # type: ignore[arg-type]
    answer = await speaker.within_time(speaker.hall.ask_media(room.worker_id, room.worker_epoch, offer))
    session = f"/v1/calls/{call_id}/media/{room.attempt}-{answer.link_id}"
    headers = CIMultiDict({hdrs.LOCATION: session, hdrs.ETAG: _tag(answer.link_id), hdrs.CACHE_CONTROL: "no-store"})
    for link in ice_links(speaker.services.settings, speaker.identity.principal, int(time.time() * 1000)):
        headers.add(hdrs.LINK, link)
    return web.Response(status=201, text=answer.sdp, content_type=SDP, headers=headers)


async def look_at_whip(asked: Asked) -> web.StreamResponse:
    """RFC 9725 section 4.1: there is nothing to see, which is no mistake."""
    await asked.speaker.own_call(asked.path["id"])
    return _nothing()


async def look_at_whep(asked: Asked) -> web.StreamResponse:
    """As for `whip`."""
    await asked.speaker.own_call(asked.path["id"])
    return _nothing()


async def look_at_session(asked: Asked) -> web.StreamResponse:
    """As for `whip`."""
    await _link(asked)
    return _nothing()


async def trickle(asked: Asked) -> web.StreamResponse:
    """The body is an SDP fragment (RFC 8840); `If-Match` carries the session's `ETag`. An ICE restart is refused with 422."""
    link = await _link(asked)
    _check_tag(asked.headers.get(hdrs.IF_MATCH), _tag(link.link_id))
    fragment = fragments.read_fragment(asked.body)
    speaker, call_id, room = asked.speaker, asked.path["id"], link.room
    item = Candidates(
        call_id,
        room.attempt,
        speaker.identity.role,
        fragment.candidates,
        speaker.address,
        link.link_id,
        fragment.ufrag,
    )
    await speaker.within_time(speaker.hall.ask_media(room.worker_id, room.worker_epoch, item))
    return _nothing()


async def end_session(asked: Asked) -> answers.Nothing:
    """The link ends at once and tells its client by DTLS; the call goes on. `If-Match` is not looked at."""
    link = await _link(asked)
    speaker, room = asked.speaker, link.room
    item = LeaveOrder(asked.path["id"], room.attempt, speaker.identity.role, link.link_id)
    await speaker.within_time(speaker.hall.ask_media(room.worker_id, room.worker_epoch, item))
    return answers.Nothing()


async def _link(asked: Asked) -> _Link:
    """Return the session that the path names, of the asker's own call. A room that was replaced took its links with it."""
    room = await _room(asked.speaker, asked.path["id"])
    named = _SESSION.fullmatch(asked.path["session_id"])
    if named is None or room is None or room.attempt != int(named[1]):
        raise Refused("unknown_link", "no such session")
    return _Link(room, named[2])


async def _room(speaker: Speaker, call_id: str) -> RoomView | None:
    return (await speaker.own_call(call_id)).room


def _tag(link_id: str) -> str:
    """A strong entity tag (RFC 9110 section 8.8.3) of the session's one ICE session."""
    return f'"{link_id}"'


def _check_tag(given: str | None, tag: str) -> None:
    """RFC 9725 section 4.3.1; `*` is what a client sends that wants a restart (RFC 9110 section 13.1.1)."""
    if given is None:
        raise Refused("precondition_required", "If-Match: send the session's ETag")
    if given.strip() != "*" and tag not in [one.strip() for one in given.split(",")]:
        raise Refused("precondition_failed", "If-Match: this is not the session's ETag")


def _nothing() -> web.Response:
    return web.Response(status=204, headers={hdrs.CACHE_CONTROL: "no-store"})


_WHIP, _WHEP, _MEDIA = "/v1/calls/{id}/whip", "/v1/calls/{id}/whep", "/v1/calls/{id}/media/{session_id}"

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="POST",
        path=_WHIP,
        handler=send_media,
        summary="Send one's camera and microphone into the call (WHIP, RFC 9725)",
        roles=PARTIES,
        whose="call",
        body_media_type=SDP,
        answer=str,
        media_type=SDP,
        status=201,
    ),
    Operation(
        method="POST",
        path=_WHEP,
        handler=receive_media,
        summary="Have the other party's picture and sound (WHEP)",
        roles=PARTIES,
        whose="call",
        body_media_type=SDP,
        answer=str,
        media_type=SDP,
        status=201,
    ),
    Operation(
        method="GET",
        path=_WHIP,
        handler=look_at_whip,
        summary="Nothing: a WHIP endpoint has no content",
        roles=PARTIES,
        whose="call",
        answer=answers.Nothing,
        status=204,
    ),
    Operation(
        method="GET",
        path=_WHEP,
        handler=look_at_whep,
        summary="Nothing: a WHEP endpoint has no content",
        roles=PARTIES,
        whose="call",
        answer=answers.Nothing,
        status=204,
    ),
    Operation(
        method="GET",
        path=_MEDIA,
        handler=look_at_session,
        summary="Nothing: a session has no content",
        roles=PARTIES,
        whose="call",
        answer=answers.Nothing,
        status=204,
    ),
    Operation(
        method="PATCH",
        path=_MEDIA,
        handler=trickle,
        summary="Trickle ICE candidates",
        roles=PARTIES,
        whose="call",
        body_media_type=fragments.MEDIA_TYPE,
        headers=(hdrs.IF_MATCH,),
        answer=answers.Nothing,
        status=204,
        more_statuses=(412, 428),
    ),
    Operation(
        method="DELETE",
        path=_MEDIA,
        handler=end_session,
        summary="End a media session; the call goes on",
        roles=PARTIES,
        whose="call",
        answer=answers.Nothing,
    ),
)
