"""Whose signatures count: sets of public keys (JWKS, RFC 7517), read again while the gateway runs.

Rules: a set is taken whole or not at all. Only P-256 keys for signatures count, each under its own `kid`; a set that has
two keys of one `kid`, a private key, or no usable key is refused by name, and the last good one stays. A key that is not in
the set any more counts no more, at once. What is fetched is bounded in bytes and time, over TLS, without redirects.

Theory: keys rotate by overlap: the issuer publishes the new key, then signs with it, and takes the old one out once its tokens
have ended. A gateway looks again every `poll_s`, and at once when a token names a `kid` that it does not know, but not more
often than every `unknown_s_min`: else anybody could make it flood the issuer with made-up names.

Not here: what must be in a token (`gateway/identity.py`), keys of our own (`gateway/development_issuer.py`).
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import msgspec
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

Keys = dict[str, ECKey]
"""`kid` -> public key."""

SET_BYTES_MAX = 64 * 1024
KEYS_MAX = 64
KID_LENGTH_MAX = 200
FETCH_S = 5.0
FILE_POLL_S = 2.0
FILE_UNKNOWN_S_MIN = 0.1
"""A look at a file costs some microseconds."""
WAIT_S_MAX = 0.5
"""A client waits so long for the next look to be due; where it is further off, it is refused."""
URL_POLL_S = 300.0
URL_RETRY_S = 15.0
URL_UNKNOWN_S_MIN = 10.0

log = structlog.get_logger("gateway.signing_keys")


class KeysUnusable(ValueError):
    """A set of keys cannot be had or taken; the text says why and holds no key."""


class KeySource(Protocol):
    """Where a set of keys comes from."""

    poll_s: float
    unknown_s_min: float

    async def read(self) -> Keys | None:
        """Return the present set; None: unchanged since the last one that was taken. Raises KeysUnusable."""


def parse_key_set(content: bytes) -> Keys:
    """Return the usable keys of a JWKS document; keys for other purposes are left out. Raises KeysUnusable."""
    if len(content) > SET_BYTES_MAX:
        raise KeysUnusable(f"a key set has at most {SET_BYTES_MAX} bytes")
    try:
        found = msgspec.json.decode(content, type=dict[str, Any]).get("keys")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise KeysUnusable("the key set is not a JSON object") from None
    if not isinstance(found, list) or len(found) > KEYS_MAX or not all(isinstance(one, dict) for one in found):
        raise KeysUnusable(f'the key set has no "keys" of at most {KEYS_MAX} objects')
    keys: Keys = {}
    for one in found:
        if "d" in one or one.get("kty") == "oct":
            raise KeysUnusable("the key set holds a private or secret key: publish the public ones alone")
        if not _is_for_us(one):
            continue
        kid = one["kid"]
        if kid in keys:
            raise KeysUnusable(f"two keys have the kid {kid!r}")
        keys[kid] = public_key(one)
    if not keys:
        raise KeysUnusable("the key set has no P-256 key with a kid for signatures")
    return keys


def public_key(values: dict[str, Any]) -> ECKey:
    """Return the public half of a P-256 JWK. Raises KeysUnusable."""
    try:
        key = ECKey.import_key({name: values[name] for name in ("kty", "crv", "x", "y", "kid")})
        _ = key.raw_value  # Made when it is first asked for; a point that is not on the curve shows then.
    except (JoseError, ValueError, KeyError, TypeError):
        raise KeysUnusable("a key of the set is malformed") from None
    return key


def _is_for_us(key: dict[str, Any]) -> bool:
    kid, uses = key.get("kid"), key.get("key_ops", ["verify"])
    is_named = isinstance(kid, str) and 0 < len(kid) <= KID_LENGTH_MAX
    is_p256 = key.get("kty") == "EC" and key.get("crv") == "P-256" and key.get("alg", "ES256") == "ES256"
    return is_named and is_p256 and key.get("use", "sig") == "sig" and isinstance(uses, list) and "verify" in uses


class KeyFiles:
    """Keys in files on this machine."""

    poll_s = FILE_POLL_S
    unknown_s_min = FILE_UNKNOWN_S_MIN

    def __init__(self, paths: list[Path], load: Callable[[], Keys]) -> None:
        """`load` reads `paths`. It may raise KeysUnusable and OSError."""
        self._paths = paths
        self._load = load
        self._stamp: tuple[object, ...] = ()

    async def read(self) -> Keys | None:
        return await asyncio.to_thread(self.read_now)

    def read_now(self) -> Keys | None:
        """As `read`, at once. Raises KeysUnusable."""
        try:
            stamp = tuple(_stamp_of(path) for path in self._paths)
            if stamp == self._stamp:
                return None
            keys = self._load()
        except OSError as error:
            raise KeysUnusable(f"{error.filename}: {error.strerror}") from error
        self._stamp = stamp
        return keys


def _stamp_of(path: Path) -> object:
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def key_set_file(path: Path) -> KeyFiles:
    """A JWKS file, which is best replaced as a whole (`mv`)."""
    return KeyFiles([path], lambda: parse_key_set(path.read_bytes()))


class KeySetUrl:
    """A JWKS document of an issuer on the network."""

    poll_s = URL_POLL_S
    unknown_s_min = URL_UNKNOWN_S_MIN

    def __init__(self, url: str, ca_file: Path | None = None) -> None:
        """`ca_file`: whose certificates are trusted; None: those that this machine trusts."""
        if not url.startswith("https://"):
            raise ValueError("a key set comes over https alone: who changes it on the way signs in as anybody")
        self._url = url
        self._context = ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)

    async def read(self) -> Keys | None:
        timeout = aiohttp.ClientTimeout(total=FETCH_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=self._context)) as http,
                http.get(self._url, allow_redirects=False, headers={"Accept": "application/json"}) as response,
            ):
                if response.status != 200:
                    raise KeysUnusable(f"the key set's address answers {response.status}")
                content = bytearray()
                async for piece in response.content.iter_chunked(16 * 1024):
                    content += piece
                    if len(content) > SET_BYTES_MAX:
                        raise KeysUnusable(f"a key set has at most {SET_BYTES_MAX} bytes")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise KeysUnusable(f"the key set cannot be fetched: {type(error).__name__}") from error
        return parse_key_set(bytes(content))


class SigningKeys:
    """The keys that count now. `start` and `stop` frame the looking again; without them the first set stays."""

    def __init__(self, source: KeySource, first: Keys | None = None) -> None:
        self._source = source
        self._keys = dict(first or {})
        self._looked_at_s = -1e9
        self._look: asyncio.Task[None] | None = None
        self._polling: asyncio.Task[None] | None = None
        self.failure = ""
        """Why the last look brought nothing; empty when it did."""
        self.taken_at_s = time.time() if first else 0.0
        self.on_removed: Callable[[frozenset[str]], None] = lambda _: None
        """Told which keys have just been taken out."""

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, kid: str) -> ECKey | None:
        """Return the key of that name, if it counts now."""
        return self._keys.get(kid)

    async def look_for(self, kid: str) -> ECKey | None:
        """Return the key, after one look at the source where it is not known; many who ask at once share a look."""
        if kid not in self._keys:
            wait_s = self._looked_at_s + self._source.unknown_s_min - asyncio.get_running_loop().time()
            if self._look is None and wait_s <= WAIT_S_MAX:
                self._look = asyncio.create_task(self._look_after(max(0.0, wait_s)))
            if self._look is not None:
                await asyncio.shield(self._look)
        return self._keys.get(kid)

    async def _look_after(self, wait_s: float) -> None:
        try:
            await asyncio.sleep(wait_s)
            await self._refresh()
        finally:
            self._look = None

    async def start(self) -> None:
        """Look once, whatever comes of it, and then again and again."""
        await self._refresh()
        self._polling = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        tasks = [task for task in (self._polling, self._look) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._polling = self._look = None

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(min(self._source.poll_s, URL_RETRY_S) if self.failure else self._source.poll_s)
            await self._refresh()

    async def _refresh(self) -> None:
        """Look at the source; a failure leaves the last good set as it is."""
        self._looked_at_s = asyncio.get_running_loop().time()
        try:
            keys = await self._source.read()
        except KeysUnusable as error:
            if self.failure != str(error):
                log.error("keys.not_taken", reason=str(error), kept_count=len(self._keys))
            self.failure = str(error)
            return
        self.failure = ""
        self.taken_at_s = time.time()
        if keys is not None and keys.keys() != self._keys.keys():
            self._take(keys)
        elif keys is not None:
            self._keys = keys

    def _take(self, keys: Keys) -> None:
        removed = frozenset(self._keys) - frozenset(keys)
        log.info("keys.taken", count=len(keys), new_count=len(keys.keys() - self._keys.keys()), gone_count=len(removed))
        self._keys = keys
        if removed:
            self.on_removed(removed)
