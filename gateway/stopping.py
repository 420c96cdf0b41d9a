"""Being asked to stop, at any moment: while the hall starts, while it runs, while something is being repaired.

Rules: a signal only sets an event; whoever works looks at it through `unless`. What must not be left half done is wrapped
in `finished`.
"""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def heed_signals(stopping: asyncio.Event) -> None:
    """Set `stopping` when somebody asks this process to end; from now on nothing else happens then."""
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        # Under nohup the end of the terminal is not the end of the hall.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, stopping.set)


async def unless(stopping: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, or give it up as soon as somebody wants to stop. Raises what the work raises."""
    doing, waiting = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
    for task in (doing, waiting):
        task.cancel()
    await asyncio.gather(doing, waiting, return_exceptions=True)
    if not doing.cancelled():
        doing.result()


async def finished(work: Coroutine[Any, Any, None]) -> None:
    """Let the work end, also when cancelled meanwhile: what it started must be known to `stop`."""
    doing = asyncio.ensure_future(work)
    try:
        await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait({doing})
        raise
