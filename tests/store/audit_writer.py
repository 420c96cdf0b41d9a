"""A process that records entries one after the other and says which are durable, for a test that kills it.

python -m tests.store.audit_writer URL NAME
"""

import asyncio
import sys

from actors.audit import Entry, StoreAudit
from actors.store_client import StoreClient


async def write(url: str, name: str) -> None:
    """Until it is killed."""
    client = StoreClient(url)
    audit = StoreAudit(client)
    number = 0
    while True:
        refs = [f"{name}-{number + n}" for n in range(5)]
        entries = [Entry(at_ms=1_800_000_000_000, what="test", who="operator:o-1", ref=ref, by=name) for ref in refs]
        await asyncio.gather(*(audit.record(entry) for entry in entries))
        number += len(refs)
        sys.stdout.write("".join(f"{ref}\n" for ref in refs))
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], sys.argv[2]))
