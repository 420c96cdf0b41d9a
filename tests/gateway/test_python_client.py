"""The Python client before a real gateway and a real hall: what is lost on the way, it says and hears once all the same."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from actors.hall import Hall
from actors.local import LocalHall, local_hall
from gateway.app import Gateway
from gateway.settings import Settings
from loadtest import client as module
from loadtest.client import Client, Message, Refused
from tests.gateway.test_call_life import REQUEST
from tests.gateway.test_elsewhere import EAST, MAIN
from tests.waiting import until

Token = Callable[..., str]
CARDS = {**REQUEST, "queue_id": "cards"}


@pytest.fixture
async def local() -> AsyncIterator[LocalHall]:
    async with local_hall(MAIN, None, (EAST,), shards_count=2) as local:
        yield local


@pytest.fixture
async def hall(local: LocalHall) -> AsyncIterator[Hall]:
    hall = local.hall("g-1")
    yield hall
    await hall.close()


@pytest.fixture
async def gateway(hall: Hall, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    monkeypatch.setattr(module, "BACKOFF_FIRST_S", 0.02)
    gateway = Gateway(hall, settings)
    await gateway.start()
    yield gateway
    await gateway.stop()


class Script:
    """A client in threads of its own, driven from the test's loop."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.heard: list[Message] = []
        self._reader = threading.Thread(target=self._read)

    async def __aenter__(self) -> "Script":
        await asyncio.to_thread(self.client.__enter__)
        self._reader.start()
        return self

    async def __aexit__(self, *_: Any) -> None:
        await asyncio.to_thread(self.client.__exit__, None, None, None)
        await asyncio.to_thread(self._reader.join, 5.0)
        assert not self._reader.is_alive()

    def _read(self) -> None:
        for message in self.client.messages():
            self.heard.append(message)

    async def ask(self, type_: str, **data: Any) -> dict[str, Any]:
        return await asyncio.to_thread(lambda: self.client.ask(type_, **data))

    def events(self) -> list[Message]:
        return [one for one in self.heard if one.seq]

    def types(self) -> list[str]:
        return [one.type for one in self.events()]


@pytest.fixture
def script(gateway: Gateway, token: Token) -> Callable[[str], Script]:
    return lambda customer_id: Script(Client(f"http://127.0.0.1:{gateway.port}", token("customer", customer_id)))


def cut(gateway: Gateway) -> None:
    """Every connection of the gateway breaks, as when a network goes away."""
    for session in list(gateway._roster):
        session.connection.abort()


async def test_a_call_is_asked_for_and_ended(script: Callable[[str], Script]) -> None:
    async with script("c-1") as customer:
        call_id = (await customer.ask("call.request", **CARDS))["call_id"]
        assert await customer.ask("call.hang_up", call_id=call_id) == {}
        await until(lambda: customer.types() == ["call.queued", "call.ended"])
        assert customer.events()[-1].data["reason"] == "customer_hung_up"


async def test_a_refusal_says_why(script: Callable[[str], Script]) -> None:
    async with script("c-1") as customer:
        with pytest.raises(Refused, match="unknown_queue"):
            await customer.ask("call.request", **{**REQUEST, "queue_id": "nowhere"})


async def test_what_was_missed_comes_once(gateway: Gateway, script: Callable[[str], Script], hall: Hall) -> None:
    """Given connections that break again and again while things happen; then each event is heard once and in order."""
    async with script("c-1") as customer:
        for number in range(10):
            call_id = (await customer.ask("call.request", **CARDS))["call_id"]
            cut(gateway)
            if number % 2:
                assert (await hall.call(call_id).hang_up()).is_accepted
            else:
                await customer.ask("call.hang_up", call_id=call_id)
        await until(lambda: customer.types() == 10 * ["call.queued", "call.ended"])
        seqs = [one.seq for one in customer.events()]
        assert seqs == list(range(seqs[0], seqs[0] + 20))
        assert customer.client.resumes_count == 10


async def test_a_question_whose_answer_was_lost_is_asked_again_and_done_once(
    gateway: Gateway, script: Callable[[str], Script], hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a command whose connection breaks before its answer is sent; then it is repeated, answered, and happened once."""
    submit, count = Hall.submit, []

    async def submit_and_cut(self: Hall, command: Any, division_id: str = "") -> Any:
        reply = await submit(self, command, division_id)
        count.append(command)
        if len(count) == 1:
            cut(gateway)
        return reply

    monkeypatch.setattr(Hall, "submit", submit_and_cut)
    async with script("c-1") as customer:
        call_id = (await customer.ask("call.request", **CARDS))["call_id"]
        assert len(count) == 2
        assert count[0].id == count[1].id
        await until(lambda: customer.types() == ["call.queued"])
        assert customer.events()[-1].data["call_id"] == call_id


async def test_it_follows_a_call_into_another_division(
    gateway: Gateway, script: Callable[[str], Script], local: LocalHall
) -> None:
    """Given a call that goes elsewhere; then it is heard there, over a broken connection too, the next one at home."""
    async with script("c-1") as customer:
        for _ in range(3):
            call_id = (await customer.ask("call.request", **CARDS))["call_id"]
            await customer.ask("call.hang_up", call_id=call_id)
        call_id = (await customer.ask("call.request", **REQUEST))["call_id"]
        gone = ["call.queued", "call.handing_over", "call.handed_over", "call.queued"]
        await until(lambda: customer.types()[6:] == gone)
        moved, queued = customer.events()[-2:]
        assert queued.seq == moved.data["seq"] + 1
        cut(gateway)
        await customer.ask("call.hang_up", call_id=call_id)
        await until(lambda: customer.types()[6:] == [*gone, "call.ended"])
        await customer.ask("call.request", **CARDS)
        await until(lambda: customer.types()[-1:] == ["call.queued"])


async def test_who_is_not_let_in_hears_why(gateway: Gateway, token: Token) -> None:
    """A token that is no token, one that has run out, and nobody there at all."""
    url = f"http://127.0.0.1:{gateway.port}"
    with pytest.raises(Refused, match="not_signed_in"):
        await asyncio.to_thread(Client(url, "nonsense").__enter__)
    with pytest.raises(Refused, match="not_signed_in"):
        await asyncio.to_thread(Client(url, token("customer", "c-1", ttl_s=-10)).__enter__)
    with pytest.raises(Refused, match="offline"):
        await asyncio.to_thread(Client("http://127.0.0.1:9", "any", attempts_max=2).__enter__)


async def test_who_is_replaced_stays_away(script: Callable[[str], Script]) -> None:
    """Given a session; when the same customer comes by another connection; then the first is over, and says why."""
    first = script("c-1").client
    await asyncio.to_thread(first.__enter__)
    async with script("c-1") as second:
        with pytest.raises(Refused, match="replaced"):
            await asyncio.to_thread(lambda: [*first.messages()])
        with pytest.raises(Refused, match="replaced"):
            await asyncio.to_thread(lambda: first.ask("call.request", **CARDS))
        assert (await second.ask("call.request", **CARDS))["call_id"]
    await asyncio.to_thread(first.close)


async def test_a_question_that_nobody_answers_is_refused_in_time(
    script: Callable[[str], Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: Hall, command: Any, division_id: str = "") -> Any:
        await asyncio.sleep(3600)

    monkeypatch.setattr(module, "ASK_S", 0.2)
    monkeypatch.setattr(Hall, "submit", never)
    async with script("c-1") as customer:
        with pytest.raises(Refused, match="timeout"):
            await customer.ask("call.request", **CARDS)


async def test_open_questions_end_with_the_client(
    script: Callable[[str], Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given as many open questions as may be; then one more is refused at once, and all are at the end."""
    began = asyncio.Event()

    async def never(self: Hall, command: Any, division_id: str = "") -> Any:
        began.set()
        await asyncio.sleep(3600)

    monkeypatch.setattr(Hall, "submit", never)
    monkeypatch.setattr(module, "ASKS_MAX", 2)
    refused: list[str] = []
    async with script("c-1") as customer:
        for _ in range(2):
            customer.client.ask_then(
                "call.request", CARDS, lambda value, error: refused.append(error.reason if error else "")
            )
        await began.wait()
        with pytest.raises(Refused, match="too many"):
            customer.client.ask_then("call.request", CARDS, lambda value, error: None)
    assert refused == ["offline", "offline"]
