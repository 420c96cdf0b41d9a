"""Two gateways of a real hall on one port: kill -9 of one, and clients that miss nothing; an operator who drains one."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.gateway.client import Client, Visitor
from tests.hall.running import Hall, wait_until
from tests.hall.test_watching import CONFIGURATION

pytestmark = pytest.mark.ray

CUSTOMERS = 12
"""All at one gateway: once in 2,000 runs."""
BACK_S = 30.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    one = Hall(tmp_path_factory.mktemp("pair"))
    (one.folder / "hall.toml").write_text(CONFIGURATION)
    environment = {"TELLERHALL_GATEWAY_PROCESSES": "2", "TELLERHALL_MEDIA_WORKERS": "0"}
    try:
        one.start("--port", "0", "--config", str(one.folder / "hall.toml"), environment=environment)
        yield one
        started = one.started()
        assert one.interrupt() == 0, one.text()
        started.assert_gone()
    finally:
        one.end()


@pytest.fixture
async def visitor(pair: Hall) -> AsyncIterator[Visitor]:
    async with aiohttp.ClientSession() as http:
        yield Visitor(http, pair.url)


class Page:
    """A customer whose connection comes back by itself."""

    def __init__(self, hall: Hall, visitor: Visitor, customer_id: str) -> None:
        self._visitor = visitor
        self._token = hall.token("customer", customer_id)
        self.client: Client
        self.gateways: list[str] = []
        self.events: list[tuple[int, str]] = []
        """(number, type) of each event, in the order in which it came."""

    async def open(self) -> "Page":
        self.client = await self._visitor.connect(self._token)
        self.gateways.append((await self.client.next())["data"]["gateway_id"])
        return self

    async def wait_in_line(self) -> None:
        answer = await self.client.ask("call.request", {"queue_id": "loans", "is_consented": True})
        self.call_id = answer["data"]["value"]["call_id"]
        self._take(await self.client.until("call.queued"))

    def _take(self, message: dict[str, Any]) -> None:
        self.events.append((message["seq"], message["type"]))

    async def come_back(self) -> None:
        """Resume from the last number, as often as that needs."""
        async with asyncio.timeout(BACK_S):
            while True:
                try:
                    self.client = await self._visitor.connect(self._token, resume=self.events[-1][0])
                    assert (await self.client.next())["type"] == "session.resumed"
                    return
                except (aiohttp.ClientError, AssertionError):
                    await asyncio.sleep(0.2)

    async def hear_the_end(self) -> None:
        self._take(await self.client.until("call.ended"))


async def statuses(visitor: Visitor, pair: Hall) -> dict[str, Any]:
    _, body, _ = await visitor.request("GET", "/v1/status", pair.token("operator", "o-1"))
    return body


async def lined_up(pair: Hall, visitor: Visitor, prefix: str) -> list[Page]:
    pages = [await Page(pair, visitor, f"{prefix}-{number}").open() for number in range(CUSTOMERS)]
    for page in pages:
        await page.wait_in_line()
    return pages


async def test_clients_of_a_killed_gateway_resume_on_the_other(pair: Hall, visitor: Visitor) -> None:
    """Given waiting customers at two gateways; when one is killed and calls end meanwhile; then its clients resume elsewhere
    and hear of the end once, under the next number; the others notice nothing, and a successor fills the slot."""
    pages = await lined_up(pair, visitor, "k")
    slots = {page: page.gateways[0].partition("-e")[0] for page in pages}
    assert set(slots.values()) == {"gateway-1", "gateway-2"}
    before = await statuses(visitor, pair)
    for slot in ("gateway-1", "gateway-2"):
        assert before["gateways"][slot]["connections"] == {"customer": list(slots.values()).count(slot)}
    shown = pair.command("status").stdout
    assert shown.count("serving") == 3, shown
    os.kill(before["parts"]["gateway-1"]["pid"], signal.SIGKILL)
    lost = [page for page in pages if slots[page] == "gateway-1"]
    for page in lost:
        assert await page.client.closed() == 1006
    for page in pages:
        # Through REST, at whichever gateway answers: who lost the connection can only hear of it afterwards.
        await ended(pair, visitor, page.call_id)
    await asyncio.gather(*(page.come_back() for page in lost))
    for page in pages:
        await page.hear_the_end()
        assert page.events == [(1, "call.queued"), (2, "call.ended")]
    await asyncio.to_thread(wait_until, lambda: "NOT HEALTHY" not in pair.command("status").stdout, BACK_S)
    after = await statuses(visitor, pair)
    assert after["parts"]["gateway-1"]["pid"] != before["parts"]["gateway-1"]["pid"]
    assert after["parts"]["gateway-2"]["pid"] == before["parts"]["gateway-2"]["pid"]


async def ended(pair: Hall, visitor: Visitor, call_id: str) -> None:
    """End a call as an operator; a request that met the killed gateway is repeated."""
    while True:
        try:
            status, body, _ = await visitor.request(
                "DELETE", f"/v1/calls/{call_id}", pair.token("operator", "o-1"), headers={"Idempotency-Key": call_id}
            )
        except aiohttp.ClientError:
            continue
        assert status == 200, body
        return


async def test_an_operator_drains_one(pair: Hall, visitor: Visitor) -> None:
    """Given customers at two gateways; when one is drained by command; then its own are told to resume within a minute, do so
    at the other, and it is started anew."""
    pages = await lined_up(pair, visitor, "d")
    names = {page.gateways[0] for page in pages}
    assert len(names) == 2
    name = sorted(names)[1]
    slot = name.partition("-e")[0]
    own = [page for page in pages if page.gateways == [name]]
    done = await asyncio.to_thread(pair.command, "drain", slot)
    assert f"{slot} sends its {len(own)} clients to the others" in done.stdout, done
    for page in own:
        assert (await page.client.until("session.goaway"))["data"] == {"action": "resume", "after_ms": 60_000}
        await page.client.socket.close()
        await page.come_back()
    for page in pages:
        await ended(pair, visitor, page.call_id)
        await page.hear_the_end()

    def is_anew() -> bool:
        text = pair.command("status").stdout
        return f"{slot}-e" in text and name not in text and "NOT HEALTHY" not in text

    await asyncio.to_thread(wait_until, is_anew, BACK_S)
    assert is_anew()
    assert pair.command("drain", "shard-0").returncode == 1
