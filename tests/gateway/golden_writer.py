"""Adds the lines that golden files lack; what is there is never written anew.

Run as `python -m tests.gateway.golden_writer` after a message or a sample was added.
"""

from pathlib import Path
from typing import Any

import msgspec

from gateway.codec import CODECS, Codec
from gateway.samples import CLIENT_SAMPLES, SERVER_SAMPLES, sent

FOLDER = Path(__file__).parent / "golden"
FILES = {name: FOLDER / name for name in ("server.jsonl", "server.msgpack", "client.jsonl", "client.msgpack")}


def written(codec: Codec, payload: bytes) -> str:
    """A payload as it stands in a golden file."""
    return payload.decode() if codec.is_text else payload.hex()


def said(codec: Codec, name: str) -> bytes:
    """A sample of a client in its envelope."""
    data = CLIENT_SAMPLES[name]
    kind: Any = msgspec.json if codec.is_text else msgspec.msgpack
    payload: bytes = kind.encode({"v": 1, "id": "9f2c", "type": data.TYPE, "data": data})
    return payload


def main() -> None:
    """Write the missing lines in the samples' order."""
    for codec in CODECS.values():
        ending = "jsonl" if codec.is_text else "msgpack"
        now = {
            "server": {name: written(codec, codec.encode(sent(name))) for name in SERVER_SAMPLES},
            "client": {name: written(codec, said(codec, name)) for name in CLIENT_SAMPLES},
        }
        for side, lines in now.items():
            path = FILES[f"{side}.{ending}"]
            old = dict(line.split("\t", 1) for line in path.read_text().splitlines()) if path.exists() else {}
            path.write_text("".join(f"{name}\t{line}\n" for name, line in (lines | old).items()))


if __name__ == "__main__":
    main()
