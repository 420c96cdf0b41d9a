"""One hall for all tests that may share it, a Chromium a test, and desks that no other test uses."""

import itertools
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from msgspec import Struct
from playwright.async_api import Browser, async_playwright

from tests.hall.configured import write_configuration
from tests.hall.pages import FLAGS, AgentPage, Bank, CustomerPage, new_page
from tests.hall.running import Hall, Started

_numbers = itertools.count(1)


class Desk(Struct, frozen=True):
    """A queue, its one agent and a customer."""

    queue_id: str
    agent_id: str
    customer_id: str


@pytest.fixture(scope="session")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    """A hall that runs for the whole session; at its end Ctrl-C leaves nothing."""
    folder = tmp_path_factory.mktemp("hall")
    one = Hall(folder)
    try:
        one.start("--port", "0", "--config", str(write_configuration(folder / "hall.toml")))
        yield one
        started = one.started()
        assert one.interrupt() == 0, one.text()
        started.assert_gone()
        assert_folder_free(one)
    finally:
        one.end()


def assert_folder_free(one: Hall) -> None:
    left = {path.name for path in (one.data / "run").iterdir()}
    assert left <= {"processes.json", "up.lock"}, left


@pytest.fixture
def new_hall(tmp_path: Path) -> Iterator[Callable[[str], Hall]]:
    """Makes halls of the test's own, each in its folder; ended at the end, whatever happened."""
    made: list[Hall] = []

    def make(name: str = "hall") -> Hall:
        made.append(Hall(tmp_path / name))
        made[-1].folder.mkdir(parents=True, exist_ok=True)
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def desk() -> Desk:
    return next_desk("calm")


@pytest.fixture
def brief_desk() -> Desk:
    return next_desk("brief")


def next_desk(kind: str) -> Desk:
    number = next(_numbers)
    return Desk(f"{kind}-{number}", f"{kind}-{number}", f"c-{number}")


@pytest.fixture
def bank(hall: Hall) -> Bank:
    return Bank(hall)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A Chromium with fake cameras and microphones."""
    chromium = shutil.which("chromium")
    assert chromium, "the browser tests need Chromium: apt-get install chromium"
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield made
        await made.close()


OpenCustomer = Callable[[Hall, str], Awaitable[CustomerPage]]
OpenAgent = Callable[[Hall, str], Awaitable[AgentPage]]


@pytest.fixture
async def open_customer(browser: Browser) -> AsyncIterator[OpenCustomer]:
    """Opens customer pages, each in a browser profile of its own; no script may have failed at the end."""
    opened: list[CustomerPage] = []

    async def open_page(hall: Hall, customer_id: str) -> CustomerPage:
        context = await browser.new_context(ignore_https_errors=True, viewport={"width": 412, "height": 860})
        opened.append(CustomerPage(await new_page(context), hall, customer_id))
        await opened[-1].open()
        return opened[-1]

    yield open_page
    assert [error for one in opened for error in one.errors] == []


@pytest.fixture
async def open_agent(browser: Browser) -> AsyncIterator[OpenAgent]:
    """Opens agent desktops, each in a browser profile of its own; no script may have failed at the end."""
    opened: list[AgentPage] = []

    async def open_page(hall: Hall, agent_id: str) -> AgentPage:
        context = await browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 860})
        opened.append(AgentPage(await new_page(context), hall, agent_id))
        await opened[-1].open()
        return opened[-1]

    yield open_page
    assert [error for one in opened for error in one.errors] == []


__all__ = ["Desk", "OpenAgent", "OpenCustomer", "Started"]
