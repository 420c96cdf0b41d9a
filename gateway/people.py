"""Names that belong beside events: agents' work names, customers' masked names.

Rules: personal data never travels in events or logs (SAFETY.md 7), so a name is looked up where it is shown, and a
customer's is masked before it leaves this file and kept nowhere. An agent's work name is configuration and may be kept
for a minute. A name that cannot be had in time is shown as its stand-in; no event waits longer.

The masking rule: of a name that begins with a Chinese, Japanese or Korean character the first character stays and up to two
stars follow (`王小明` -> `王**`); of any other name each word keeps its first letter and two stars, an
initial stays as it is (`Ann S.` -> `A** S.`); at most four words. Without a name, the last two characters of the customer's
id stand in (`***17`).

Not here: where names are kept and erased (`actors/hall.py`).
"""

import asyncio
import time

import structlog

from actors.hall import Hall, HallUnavailable
from actors.store_client import StoreUnavailable

LOOKUP_MS_MAX = 2_000
"""Longer than this no event is held back for a name."""
AGENT_NAME_LIFE_S = 60.0
WORDS_MAX = 4
_IDEOGRAPHS_FROM = "\u2e80"
"""From here on Unicode holds the scripts written without spaces between names (CJK, Kana, Hangul)."""

log = structlog.get_logger("gateway.people")


def customer_reference(customer_id: str) -> str:
    """Return the key under which a customer's personal data is kept."""
    return f"customer:{customer_id}"


def mask_name(name: str) -> str:
    """Return `name` so that the agent can greet, but a bystander cannot identify."""
    name = name.strip()
    if not name:
        return ""
    if name[0] >= _IDEOGRAPHS_FROM:
        return name[0] + "*" * min(2, len(name) - 1)
    return " ".join(_mask_word(word) for word in name.split()[:WORDS_MAX])


def mask_id(customer_id: str) -> str:
    """Return the stand-in for a customer without a name."""
    return "***" + (customer_id[-2:] if len(customer_id) > 4 else "")


def _mask_word(word: str) -> str:
    is_initial = len(word) == 1 or (len(word) == 2 and word[1] == ".")
    return word if is_initial else word[0] + "**"


class People:
    """Looks names up for one gateway."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._agent_names: dict[tuple[str, str], tuple[float, str]] = {}
        """Bounded by the number of configured agents."""

    def known_agent_name(self, agent_id: str, division_id: str) -> str | None:
        """Return the name if it is known well enough, without waiting."""
        kept = self._agent_names.get((division_id, agent_id))
        return kept[1] if kept is not None and time.monotonic() < kept[0] else None

    async def agent_name(self, agent_id: str, division_id: str) -> str:
        """Return the work name; empty where there is none or it cannot be had in time."""
        try:
            async with asyncio.timeout(LOOKUP_MS_MAX / 1000):
                view = await self._hall.agent(agent_id, division_id).view()
        except (HallUnavailable, TimeoutError) as error:
            log.warning("name_not_found", agent_id=agent_id, error=type(error).__name__)
            return ""
        name = view.name if view is not None else ""
        self._agent_names[division_id, agent_id] = (time.monotonic() + AGENT_NAME_LIFE_S, name)
        return name

    async def masked_customer(self, customer_id: str) -> str:
        """Return the masked name, or the stand-in."""
        try:
            async with asyncio.timeout(LOOKUP_MS_MAX / 1000):
                fields = await self._hall.person(customer_reference(customer_id))
        except (HallUnavailable, StoreUnavailable, TimeoutError) as error:
            log.warning("person_not_found", error=type(error).__name__)
            fields = {}
        return mask_name(fields.get("display_name", "")) or mask_id(customer_id)

    async def remember_customer(self, customer_id: str, display_name: str) -> None:
        """Keep the name apart from the journal, where it can be erased. Raises StoreUnavailable."""
        await self._hall.remember_person(customer_reference(customer_id), {"display_name": display_name})
