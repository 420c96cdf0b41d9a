"""One room: who hears whom, when anything may be heard at all, and which link of a party counts.

Rules. In a room that requires recording no packet is forwarded before every party's capture log has confirmed bytes
(SAFETY.md 16); until then packets are captured only. A party's newest link counts; the older one goes on until the newer
one's streams are there, so a change of network costs a key frame and no pause. A party that comes again is heard on with
the same numbering, and is recorded on in the same log. A room never ends by itself. A party may have its two directions on one
link or on two (`sdp.Flow`); a link that only brings to the party is a listener, and makes nobody present.

A trickled candidate is checked only at the address where its party's own connection to the hall comes from: a party may
be found by it behind a filter, and nobody can make the worker knock at a third party's door.

Theory of operation. Links tell the room of streams (`on_up`, `on_down`), of first usable packets (`on_live`, just before
they are forwarded) and of their end. The room answers by subscribing down-tracks to up-tracks. Nothing here waits; what
must be awaited (closing a link) is given to `spawn`.

Not here: opening and limits (`worker.py`), the log (`capture.py`).
"""

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

from media.down_track import DownTrack
from media.link import PartyLink
from media.recording import Recording
from media.reports import (
    MediaRefused,
    MediaSettings,
    PartyJoined,
    PartyLeft,
    RecordingFailed,
    RecordingFailure,
    RecordingStarted,
    Report,
    RoomOrder,
)
from media.sdp import BadOffer, read_candidate
from media.up_track import UpTrack

LINKS_MAX = 3
"""Of one party and direction at a time: one that flows, one that comes, and one more while a page reloads in a hurry."""
CANDIDATES_MAX = 32
"""Of one link. A browser with several networks and TURN servers has about a dozen."""


class Party:
    """One party's place in a room. Links are in the order they came; the last one that sends counts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.links: list[PartyLink] = []
        self.sources: dict[str, UpTrack] = {}
        """What the others hear, by kind."""
        self.is_joined = False
        self.answer_count = 0
        self.recorded_link: PartyLink | None = None
        self.answering = asyncio.Lock()
        """Offers of one party are answered one after the other, or two would race for being the newest."""

    @property
    def senders(self) -> list[PartyLink]:
        """The links over which the party sends."""
        return [link for link in self.links if link.flow != "down"]

    @property
    def listeners(self) -> list[PartyLink]:
        """The links over which the party only hears."""
        return [link for link in self.links if link.flow == "down"]

    @property
    def newest(self) -> PartyLink | None:
        """The link that counts."""
        return next(reversed(self.senders), None)

    def link(self, link_id: str) -> PartyLink:
        """The link of that id, or without one the newest. Raises MediaRefused."""
        found = next((one for one in self.links if one.link_id == link_id), None) if link_id else self.newest
        if found is None:
            raise MediaRefused("unknown_link")
        return found


class Room:
    """Made open; ended by `close`."""

    def __init__(
        self,
        number: int,
        settings: MediaSettings,
        order: RoomOrder,
        report: Callable[[Report], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        count: Callable[[PartyLink], None],
    ) -> None:
        self.number = number
        """Running number in the worker: spreads the rooms' ticks over the second."""
        self.order = order
        self.recording: Recording | None = None
        self.parties = {name: Party(name) for name in order.parties}
        self.is_open = order.recording != "required"
        """Whether packets are forwarded."""
        self.is_closed = False
        self._settings, self._report, self._spawn, self._count = settings, report, spawn, count

    def __repr__(self) -> str:
        joined = sum(party.is_joined for party in self.parties.values())
        links = sum(len(party.links) for party in self.parties.values())
        state = "closed" if self.is_closed else "open" if self.is_open else "gated"
        return f"<Room {self.order.room_id}/{self.order.attempt} {state}, {joined} joined, {links} links>"

    # Links.

    def add_link(self, party: Party, link: PartyLink) -> None:
        """Let `link` become the party's newest. Every link that is added gets closed by the room in the end."""
        same = party.listeners if link.flow == "down" else party.senders
        party.links.append(link)
        link.on_up = lambda up: self._on_up(party, link, up)
        link.on_down = lambda down: self._on_down(party, link, down)
        link.on_closed = lambda: self._on_closed(party, link)
        if len(same) >= LINKS_MAX:
            same[0].end()

    async def add_candidates(self, party: Party, link_id: str, ufrag: str, texts: list[str], address: str) -> None:
        """Take trickled candidates of a link: of the newest for an empty `link_id`. Raises MediaRefused.

        `ufrag`: of the ICE session that all of them belong to, where the party says so; each may name its own.
        """
        link = party.link(link_id)
        if ufrag and ufrag != link.remote_ufrag:
            raise MediaRefused("ice_restart")
        for text in texts:
            if link.candidates_count >= CANDIDATES_MAX:
                raise MediaRefused("too_many")
            link.candidates_count += 1
            try:
                candidate = read_candidate(text)
            except BadOffer:
                raise MediaRefused("bad_sdp") from None
            if candidate is None or candidate.address != address:
                continue
            # One of an older offer is late, which is normal.
            if candidate.ufrag in ("", link.remote_ufrag):
                await link.add_candidate(candidate.text)

    def leave(self, party: Party, link_id: str) -> None:
        """End one link of a party, or without an id all of them. Raises MediaRefused for an unknown one."""
        for link in [party.link(link_id)] if link_id else list(party.links):
            link.end()

    def _on_up(self, party: Party, link: PartyLink, up: UpTrack) -> None:
        up.is_open = self.is_open
        up.watch(lambda live: self._on_live(party, link, live))

    def _on_live(self, party: Party, link: PartyLink, up: UpTrack) -> None:
        """The first usable packet of `up` is about to be forwarded."""
        if self.is_closed or link is not party.newest:
            return
        self._adopt(party, link, up)
        self._settle(party, monotonic())

    def _adopt(self, party: Party, link: PartyLink, up: UpTrack) -> None:
        """Let `up` be what the others hear of the party, and what is recorded."""
        now = monotonic()
        before = party.sources.get(up.kind)
        if before is not None:
            before.capture(None, 0, now)
        party.sources[up.kind] = up
        if self.recording is not None:
            if party.recorded_link is not link:
                party.recorded_link = link
                self.recording.begin_segment(party.name)
            self.recording.capture(party.name, up, now)
        for other in self._others(party):
            for down in (link.down_by_kind.get(up.kind) for link in other.links):
                if down is not None:
                    down.subscribe(up)

    def _on_down(self, party: Party, link: PartyLink, down: DownTrack) -> None:
        if link.flow == "down":
            for older in party.listeners[: party.listeners.index(link)]:
                older.end()
        for other in self._others(party):
            down.subscribe(other.sources.get(down.kind))

    def _others(self, party: Party) -> list[Party]:
        return [other for other in self.parties.values() if other is not party]

    def _on_closed(self, party: Party, link: PartyLink) -> None:
        """Take a link out, whoever ended it."""
        now = monotonic()
        was_newest = party.newest is link
        if link in party.links:
            party.links.remove(link)
        for down in link.down_by_kind.values():
            down.subscribe(None)
        for up in link.up_by_kind.values():
            up.capture(None, 0, now)
            for subscriber in list(up.subscribers):
                subscriber.subscribe(None)
            if party.sources.get(up.kind) is up:
                del party.sources[up.kind]
        self._count(link)
        self._spawn(link.close())
        if was_newest and not self.is_closed:
            self._fall_back(party)

    def _fall_back(self, party: Party) -> None:
        """The newest link ended: hear the one before it again, or the party has left."""
        link = party.newest
        if link is not None:
            for up in link.up_by_kind.values():
                if up.is_live and party.sources.get(up.kind) is not up:
                    self._adopt(party, link, up)
        if party.is_joined and not any(link.is_connected for link in party.senders):
            party.is_joined = False
            self._report(PartyLeft(self.order.room_id, self.order.attempt, party.name))

    def _settle(self, party: Party, now: float) -> None:
        """Once the newest link's streams are there: the party has joined, and older links are over."""
        link = party.newest
        if link is None:
            return
        live = {up.kind for up in link.up_by_kind.values() if up.is_live}
        if not live:
            return
        grace_s = self._settings.single_kind_grace_ms / 1000
        if not link.expected_kinds <= live and now - link.live_at(now) < grace_s:
            return
        if not party.is_joined:
            party.is_joined = True
            self._report(PartyJoined(self.order.room_id, self.order.attempt, party.name))
        for older in party.links[: party.links.index(link)]:
            if link.flow == "both" or older.flow == link.flow:
                older.end()

    # Recording.

    def on_recording_started(self, name: str) -> None:
        """A party's log has confirmed bytes."""
        self._report(RecordingStarted(self.order.room_id, self.order.attempt, name))
        if not self.is_open and self.recording is not None and all(map(self.recording.is_confirmed, self.parties)):
            self._open()

    def on_recording_failed(self, name: str, reason: RecordingFailure) -> None:
        """A party's log takes no more. What then becomes of the call is not the room's to decide: it goes on as it is."""
        for up in self.parties[name].sources.values():
            up.capture(None, 0, monotonic())
        self._report(RecordingFailed(self.order.room_id, self.order.attempt, name, reason))

    def _open(self) -> None:
        self.is_open = True
        for link in self.links():
            for up in link.up_by_kind.values():
                up.is_open = True

    # Time.

    def links(self) -> list[PartyLink]:
        """All links, of all parties."""
        return [link for party in self.parties.values() for link in party.links]

    def tick(self, now: float) -> None:
        """Once a second: graces, silence, links that did not come about, the log."""
        for party in self.parties.values():
            self._settle(party, now)
            for link in list(party.links):
                silence_s = link.silence_s(now)
                if link.is_connected:
                    if silence_s * 1000 > self._settings.silence_timeout_ms:
                        link.end()
                elif (now - link.made_at) * 1000 > self._settings.connect_timeout_ms:
                    link.end()
        if self.recording is not None:
            self.recording.flush()

    async def close(self) -> None:
        """End all links and the recording's logs."""
        self.is_closed = True
        for link in self.links():
            link.end()
        if self.recording is not None:
            await self.recording.seal()
