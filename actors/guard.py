"""The guard: sees to it that there is a supervisor, for as long as a hall is wanted.

`tellerhall up` has one, and every gateway. Whoever sees the office stand still takes it, if nobody was faster (`office`), and
starts the next supervisor on its own machine, which lives for certain. Until the new one speaks for itself the guard does.

Rules: no hall wanted, no supervisor. Where the process of the supervisor was on this machine and is gone, nobody waits.

Not here: what a supervisor does (`supervisor`).
"""

import asyncio
import time

import msgspec
import structlog
from msgspec import structs

from actors import wiring
from actors.directory import Directory
from actors.incarnation import BORN_S, STALL_S, is_alive, is_born
from actors.mailbox import PeerGone
from actors.office import BEAT_S, VACANT_S, Office, Seen, Superseded, read_office, take_office
from actors.store_client import StoreClient, StoreUnavailable
from actors.supervisor import SLOT, SupervisorSettings

LOOK_S = 0.5
FACTS_S = 5.0
START_S = 30.0
"""Of a supervisor: it speaks with the store twice. Its parts take their own time."""
TAKE_TRIES = 20
"""A holder that lives beats twice a second; between two beats there is time enough."""
PAUSE_FIRST_S = 1.0
PAUSE_MAX_S = 10.0
"""Between two of our own starts: a supervisor that ends at once, again and again, must not eat the machine."""
CALM_S = 60.0
"""After so long without one the next pause is short again."""

log = structlog.get_logger()


class NoSupervisor(Exception):
    """The supervisor could not be started; the text says why."""


class Guard:
    """Watches the office through one connection to the store, which stays the caller's."""

    def __init__(self, client: StoreClient) -> None:
        self._client = client
        self._directory = Directory(client)
        self._pause_s = PAUSE_FIRST_S
        self._followed_s = -CALM_S
        self._handle: wiring.Handle | None = None
        """Of the supervisor that this guard started last."""

    async def run(self) -> None:
        """Watch, until cancelled."""
        seen, unchanged_since_s = Seen(0, 0, b""), time.monotonic()
        looked_s = unchanged_since_s
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                before, seen = seen, await read_office(self._client)
                before_s, looked_s = looked_s, time.monotonic()
                # After a freeze of this process too: its machine may have stood still, with the holder on it.
                if seen != before or looked_s - before_s > LOOK_S + STALL_S:
                    unchanged_since_s = looked_s
                elif looked_s - unchanged_since_s > VACANT_S or await self._is_gone(seen):
                    await self._follow(seen)
            except (StoreUnavailable, TimeoutError):
                # Nobody could show life: the watch begins anew.
                seen = Seen(0, 0, b"")
            except Exception:
                log.exception("guard.failed")

    async def begin(self, settings: SupervisorSettings) -> wiring.Handle:
        """Take the office from whoever holds it, and start a supervisor that keeps this running. Raises NoSupervisor.

        For who owns the hall: another owner must have been ruled out before. Raises StoreUnavailable too.
        """
        for _ in range(TAKE_TRIES):
            office = await take_office(self._client, await read_office(self._client))
            if office is not None:
                await office.want(msgspec.msgpack.encode(settings))
                return await self._start(office, settings)
        raise NoSupervisor("the office was taken by others again and again")

    async def find(self) -> wiring.Handle:
        """Return the present supervisor. Raises PeerGone, StoreUnavailable, TimeoutError."""
        name = f"{SLOT}-e{(await read_office(self._client)).epoch}"
        if self._handle is not None and self._handle.name == name:
            return self._handle  # Needs no word of Ray's head, which may be gone by the end of a hall.
        return await wiring.asked(wiring.find, name)

    async def meets_other_hall(self) -> bool:
        """Say whether a supervisor runs on this Ray cluster that is not of this store's hall.

        One that says nothing is another's unless this store knows its name. Raises StoreUnavailable, TimeoutError.
        """
        hall_id = (await read_office(self._client)).hall_id
        noted = (await self._directory.read_parts()).get(SLOT)
        for name in await wiring.asked(wiring.names):
            if not name.startswith(f"{SLOT}-e"):
                continue
            try:
                facts = await (await wiring.asked(wiring.find, name)).facts(FACTS_S)
            except TimeoutError:
                facts = {"hall_id": hall_id if noted is not None and noted.name == name else ""}
            except PeerGone:
                continue
            if facts["hall_id"] != hall_id:
                return True
        return False

    async def _is_gone(self, seen: Seen) -> bool:
        """Say whether the holder's process was on this machine and has ended."""
        entry = (await self._directory.read_parts()).get(SLOT)
        is_holder = entry is not None and entry.name == f"{SLOT}-e{seen.epoch}"
        return is_holder and entry is not None and entry.ray_node == wiring.ray_node() and not is_alive(entry.pid)

    async def _follow(self, seen: Seen) -> None:
        if not seen.wanted:
            return
        office = await take_office(self._client, seen)
        if office is None:
            return
        log.warning("supervisor.followed", epoch=office.epoch)
        began_s = time.monotonic()
        if began_s - self._followed_s > CALM_S:
            self._pause_s = PAUSE_FIRST_S
        self._followed_s = began_s
        try:
            await self._start(office, msgspec.msgpack.decode(seen.wanted, type=SupervisorSettings))
            log.warning("supervisor.started", epoch=office.epoch, took_s=round(time.monotonic() - began_s, 2))
        except NoSupervisor as error:
            log.error("supervisor.not_started", reason=str(error))
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)

    async def _start(self, office: Office, wanted: SupervisorSettings) -> wiring.Handle:
        settings = structs.replace(wanted, epoch=office.epoch)
        speaking = asyncio.create_task(_speak_for(office))
        try:
            handle: wiring.Handle = await wiring.asked(
                wiring.spawn,
                SLOT,
                settings.name,
                "actors.supervisor:Supervisor",
                msgspec.msgpack.encode(settings),
                wiring.ray_node(),
            )
            try:
                await is_born(handle)
                async with asyncio.timeout(START_S):
                    await handle.start()
            except BaseException:
                await asyncio.to_thread(handle.kill)
                raise
            self._handle = handle
            return handle
        except ValueError as error:
            raise NoSupervisor("this Ray cluster has a supervisor of another hall") from error
        except (PeerGone, StoreUnavailable, TimeoutError, Superseded) as error:
            raise NoSupervisor(str(error) or type(error).__name__) from error
        finally:
            speaking.cancel()


async def _speak_for(office: Office) -> None:
    """Show life in the new supervisor's stead, for as long as its start may take."""
    deadline_s = time.monotonic() + BORN_S + START_S
    while time.monotonic() < deadline_s:
        try:
            await office.beat()
        except StoreUnavailable:
            pass  # Who would follow cannot either; the next beat tells.
        except Superseded:
            return
        await asyncio.sleep(BEAT_S)
