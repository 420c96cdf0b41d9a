"""The two pages as tests use them, and the bank's REST interface: click what a person clicks, wait for what a person sees."""

from typing import Any

import aiohttp
from playwright.async_api import BrowserContext, Page, expect

from tests.hall.running import Hall

PATIENCE_MS = 60_000
"""Two browsers with fake cameras, a hall and whatever else share two cores; what takes 1 s alone may take 20."""
POLL_MS = 250
FRAMES = 20
FLAGS = [
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--disable-background-networking",
    "--disable-gpu",
    "--no-first-run",
    "--no-sandbox",
]


class HallPage:
    """What both pages have."""

    path = ""
    role = ""

    def __init__(self, page: Page, hall: Hall, name: str) -> None:
        self.page = page
        self.hall = hall
        self.name = name
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    async def open(self) -> None:
        await self.page.goto(f"{self.hall.url}{self.path}#token={self.hall.token(self.role, self.name)}")

    async def click(self, name: str) -> None:
        await self.page.get_by_test_id(name).click(timeout=PATIENCE_MS)

    async def text(self, name: str) -> str:
        return await self.page.get_by_test_id(name).inner_text(timeout=PATIENCE_MS)

    async def becomes(self, *states: str) -> None:
        """Wait until the page shows one of these states."""
        selector = ", ".join(f'body[data-state="{state}"]' for state in states)
        await expect(self.page.locator(selector)).to_be_attached(timeout=PATIENCE_MS)

    async def is_online(self) -> None:
        await expect(self.page.locator('body[data-link="online"]')).to_be_attached(timeout=PATIENCE_MS)

    async def loses_link(self) -> None:
        selector = 'body[data-link="waiting"], body[data-link="connecting"]'
        await expect(self.page.locator(selector)).to_be_attached(timeout=PATIENCE_MS)

    async def state(self) -> str:
        return str(await self.page.evaluate("document.body.dataset.state"))

    async def stats(self) -> dict[str, float]:
        found: dict[str, float] = await self.page.evaluate("window.tellerhall.stats()")
        return found

    async def sees_and_hears(self) -> None:
        """Wait until the other party's picture moved on by some frames and its sound had energy, from now on."""
        before = await self.stats()
        for _ in range(PATIENCE_MS // POLL_MS):
            now = await self.stats()
            if now["frames_decoded"] < before["frames_decoded"]:
                before = now  # Another peer connection, with counters of its own.
            has_picture = now["frames_decoded"] >= before["frames_decoded"] + FRAMES
            if has_picture and now["audio_energy"] > before["audio_energy"]:
                return
            await self.page.wait_for_timeout(POLL_MS)
        raise AssertionError(f"{self.name} sees and hears nothing new: {before} then {await self.stats()}")

    async def is_recorded(self) -> None:
        await expect(self.page.locator('[data-testid="recording"][data-on="true"]')).to_be_visible(timeout=PATIENCE_MS)


class CustomerPage(HallPage):
    path = "/customer"
    role = "customer"

    async def request(self, queue_id: str, reference: str = "", display_name: str = "") -> None:
        """Choose the business, consent, ask; returns once the page waits or is further."""
        await self.becomes("choosing")
        await self.click(f"queue-{queue_id}")
        await self.page.get_by_test_id("business-reference").fill(reference)
        await self.page.get_by_test_id("display-name").fill(display_name)
        await self.page.get_by_test_id("consent").check()
        await self.click("request")
        await self.becomes("waiting", "ringing", "connecting", "connected")


class AgentPage(HallPage):
    path = "/agent"
    role = "agent"

    async def get_ready(self) -> None:
        await self.becomes("not_ready", "offline", "ready")
        if await self.state() != "ready":
            await self.click("ready")
        await self.becomes("ready", "ringing")

    async def accept(self) -> None:
        await self.becomes("ringing")
        await self.click("accept")


class Bank:
    """The REST interface, as the bank's own systems use it."""

    def __init__(self, hall: Hall) -> None:
        self.hall = hall

    async def get(self, path: str) -> Any:
        status, body = await self.ask("GET", path)
        assert status == 200, (path, status, body)
        return body

    async def ask(self, method: str, path: str, body: Any = None, token: str = "", key: str = "") -> tuple[int, Any]:
        """Return (status, JSON body); as an operator unless another token is given."""
        headers = {"Authorization": f"Bearer {token or self.hall.token('operator', 'o-1')}"}
        if key:
            headers["Idempotency-Key"] = key
        timeout = aiohttp.ClientTimeout(total=PATIENCE_MS / 1000)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, f"{self.hall.url}{path}", json=body, headers=headers, ssl=False) as response,
        ):
            return response.status, await response.json(content_type=None)

    async def history(self, call_id: str) -> list[dict[str, Any]]:
        """Every event of the call, in order."""
        events: list[dict[str, Any]] = (await self.get(f"/v1/calls/{call_id}/history"))["events"]
        return events

    async def call_of(self, customer_id: str) -> str:
        """The id of the customer's call that has not ended: asked for a second one, the hall names the first."""
        token = self.hall.token("customer", customer_id)
        queues = (await self.get("/v1/queues"))["queues"]
        body = {"queue_id": queues[0]["queue_id"], "is_consented": True}
        status, problem = await self.ask("POST", "/v1/calls", body, token)
        assert status == 409, (status, problem)
        return str(problem["detail"])

    async def pid(self, slot: str) -> int:
        return int((await self.get("/v1/status"))["parts"][slot]["pid"])


async def new_page(context: BrowserContext) -> Page:
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    return page
