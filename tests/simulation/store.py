"""The store as a process sees it over its connection: the journal's twin and the directory's, with what happens on the way.

A request may arrive late (also after its sender gave up, or died), not at all, or be done without a word about it. The twins
do each request at one instant. Whatever is appended is shown to `truth` at that instant.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from actors.journal_memory import MemoryJournal
from actors.local import LocalDirectory
from actors.mailbox import PeerGone
from actors.store_client import REQUEST_S, StoreUnavailable
from tests.simulation.clockwork import PROCESS, at_once
from tests.simulation.truth import Truth
from tests.simulation.wire import Wire, settle

STORE = "store"


class Store:
    """One store for the whole hall."""

    def __init__(self, wire: Wire, chance: random.Random, truth: Truth) -> None:
        self.journal: Any = MemoryJournal()
        self.directory = LocalDirectory()
        self.truth = truth
        self._wire = wire
        self._chance = chance
        self._held: deque[Callable[[], None]] = deque()
        self._is_stalled = False

    def stall(self) -> None:
        self._is_stalled = True

    def go_on(self) -> None:
        """What waited is done now, in the order in which it came."""
        self._is_stalled = False
        while self._held:
            self._held.popleft()()

    async def request(self, work: Callable[[], Any], note: Callable[[], None]) -> Any:
        """Have the store do `work`, then `note`. Raises StoreUnavailable, or what the work raised."""
        loop, weather, chance = self._wire.loop, self._wire.weather, self._chance
        future = loop.create_future()
        process = PROCESS.get()
        if chance.random() < weather.store_refusal_ratio:
            raise StoreUnavailable(chance.choice(("not_connected", "out_of_memory", "loading")), "refused")
        is_cut = self._wire.is_cut(process.name if process else "", STORE)
        if not is_cut and chance.random() >= weather.store_loss_ratio:
            is_answer_lost = chance.random() < weather.store_loss_ratio
            self._wire.later(self._delay_s(), self._arrive, work, note, future, is_answer_lost)
        timer = loop.call_later(REQUEST_S, settle, future, None, StoreUnavailable("timeout", "no answer"))
        try:
            return await future
        finally:
            timer.cancel()

    def _delay_s(self) -> float:
        weather = self._wire.weather
        if self._chance.random() < weather.store_spike_ratio:
            return self._chance.uniform(0, 2 * REQUEST_S)
        return weather.store_delay_s * self._chance.uniform(0.3, 2.0)

    def _arrive(
        self, work: Callable[[], Any], note: Callable[[], None], future: asyncio.Future[Any], is_lost: bool
    ) -> None:
        def do() -> None:
            answer, error = None, None
            try:
                answer = at_once(work())
            except Exception as raised:
                error = raised
            note()
            if not is_lost:
                self._wire.later(self._delay_s(), settle, future, answer, error)

        if self._is_stalled:
            self._held.append(do)
        else:
            do()


class RemoteJournal:
    """`actors.journal.Journal` as one process has it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def append(self, appends: list[Any]) -> None:
        store, process = self._store, PROCESS.get()
        name = process.name if process is not None else ""
        await store.request(
            lambda: store.journal.append(appends), lambda: store.truth.note_appends(store.journal, appends, name)
        )

    async def write_snapshot(self, division_id: str, batch: int, pieces: list[bytes]) -> None:
        store = self._store
        await store.request(
            lambda: store.journal.write_snapshot(division_id, batch, pieces),
            lambda: store.truth.note_snapshot(division_id, batch, b"".join(pieces)),
        )

    async def close(self) -> None:
        """Nothing is held open."""

    def __getattr__(self, method: str) -> Any:
        """Every other request has nothing to be noted."""

        async def ask(*args: Any, **named: Any) -> Any:
            journal = self._store.journal
            return await self._store.request(lambda: getattr(journal, method)(*args, **named), lambda: None)

        return ask


class RemoteDirectory:
    """`actors.directory.Directory` as one process has it; `owner_name` is a hall's `FindOwner`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def owner_name(self, division_id: str) -> str:
        directory = self._store.directory
        try:
            name: str = await self._store.request(lambda: directory.owner_name(division_id), lambda: None)
        except StoreUnavailable as error:
            raise PeerGone(f"the directory does not answer: {error.reason}") from error
        return name

    def __getattr__(self, method: str) -> Any:
        async def ask(*args: Any, **named: Any) -> Any:
            directory = self._store.directory
            return await self._store.request(lambda: getattr(directory, method)(*args, **named), lambda: None)

        return ask
