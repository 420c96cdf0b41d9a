"""The console command `tellerhall`: up, status, token, backup, restore, version; others join through the entry point group.

A package may add subcommands: an entry point in `tellerhall.commands` names a function that takes argparse's subparsers.
"""

import argparse
import contextlib
import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import uvloop

from actors import wiring
from actors.configuration import Configuration, ConfigurationError, load
from actors.logs import configure_logging
from gateway.identity import ROLES, DevelopmentIssuer
from gateway.status_text import status_text
from gateway.up import Up, run

DEMO = Path(__file__).parent / "demo.toml"
COMMANDS_GROUP = "tellerhall.commands"
STATUS_S = 10.0
NOT_HEALTHY = 3
DEMO_TOKEN_S = 12 * 3600


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status.

    0: done; 1: it failed; 2: the arguments or the configuration are wrong; 3: `status` says that the hall is not healthy.
    """
    parser = argparse.ArgumentParser(
        prog="tellerhall", description="Routing and dispatch core for remote video banking."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    _add_up(commands)
    _add_status(commands)
    _add_token(commands)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=_version)
    for entry_point in metadata.entry_points(group=COMMANDS_GROUP):
        entry_point.load()(commands)
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    return status


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, default=None, help="configuration file (default: the demo hall)")
    parser.add_argument("--data", default=None, help="data folder (hall.data_folder)")


def _add_up(commands: Any) -> None:
    parser = commands.add_parser("up", help="start a hall and keep it running until Ctrl-C")
    _add_common(parser)
    parser.add_argument("--host", default=None, help="address that the gateway listens on (gateway.host)")
    parser.add_argument("--port", type=int, default=None, help="its port, 0 for any (gateway.port)")
    parser.add_argument("--redis-url", default=None, help="an existing Redis or Valkey instead of the embedded one")
    parser.add_argument(
        "--address", default=None, help="an existing Ray cluster instead of a private one; needs --redis-url"
    )
    parser.add_argument("--tls-cert", default=None, help="certificate file, PEM; with --tls-key")
    parser.add_argument("--tls-key", default=None, help="its key file, PEM")
    parser.add_argument(
        "--tls-self-signed", action="store_true", default=None, help="HTTPS with a certificate made here"
    )
    parser.add_argument(
        "--media-address",
        action="append",
        default=None,
        help="IPv4 address where browsers reach the media workers; repeatable",
    )
    parser.set_defaults(run=_up)


def _add_status(commands: Any) -> None:
    parser = commands.add_parser(
        "status",
        help="say how the hall of a data folder is",
        description="Exit status 0: healthy, 3: not, 1: no answer.",
    )
    _add_common(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=_status)


def _add_token(commands: Any) -> None:
    parser = commands.add_parser("token", help="issue a development token")
    _add_common(parser)
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("sub", help="whose: an agent's or customer's id")
    parser.add_argument("--division", default="", help="division (default: the first)")
    parser.add_argument("--hours", type=float, default=8.0, help="life of the token")
    parser.set_defaults(run=_token)


def _load(options: argparse.Namespace) -> Configuration:
    keys = {
        "data": "hall.data_folder",
        "host": "gateway.host",
        "port": "gateway.port",
        "tls_cert": "gateway.tls_cert",
        "tls_key": "gateway.tls_key",
        "tls_self_signed": "gateway.tls_self_signed",
        "media_address": "media.advertised_addresses",
        "redis_url": "store.url",
        "address": "ray.address",
    }
    given = {key: value for name, key in keys.items() if (value := getattr(options, name, None)) is not None}
    return load(options.config or DEMO, environment=os.environ, options=given)


def _issuer(configuration: Configuration) -> DevelopmentIssuer:
    gateway = configuration.gateway
    return DevelopmentIssuer.open(configuration.data_folder / "keys", gateway.issuer, gateway.audience)


def _up(options: argparse.Namespace) -> int:
    configuration = _load(options)
    os.umask(wiring.PRIVATE_UMASK)
    try:
        configure_logging(configuration.data_folder / "logs" / "up.log")
    except OSError as error:
        print(f"tellerhall: {error.filename} cannot be used: {error.strerror}", file=sys.stderr)
        return 1
    wiring.prepare()

    def on_ready(up: Up, took_s: float) -> None:
        for line in _greeting(up, took_s):
            _say(line)

    return uvloop.run(run(configuration, _say, on_ready))


def _say(line: str) -> None:
    # A terminal that is gone is no reason to end a hall, and must not keep one from its orderly end.
    with contextlib.suppress(OSError):
        print(line, flush=True)


def _greeting(up: Up, took_s: float) -> list[str]:
    url = up.url
    lines = [f"Tellerhall is ready after {took_s:.1f} s", f"  start page      {url}/", f"  API             {url}/v1"]
    if up.configuration.gateway.jwks_file:
        return [*lines, "Ctrl-C stops it."]
    issuer = _issuer(up.configuration)
    plan = up.configuration.divisions[0]

    def token(role: str, sub: str) -> str:
        return issuer.issue(role, sub, DEMO_TOKEN_S, plan.division_id)

    lines.append(f"  customer page   {url}/customer#token={token('customer', 'c-1')}")
    if plan.agents:
        lines.append(f"  agent desktop   {url}/agent#token={token('agent', plan.agents[0].id)}")
    lines.append(f"  operator token  {token('operator', 'o-1')}")
    return [*lines, "More tokens: tellerhall token <role> <id>. Ctrl-C stops it."]


def _status(options: argparse.Namespace) -> int:
    configuration = _load(options)
    path = configuration.data_folder / "run" / "hall.json"
    try:
        address = json.loads(path.read_text())
    except (OSError, ValueError):
        print(f"no hall runs with the data folder {configuration.data_folder}", file=sys.stderr)
        return 1
    token = _issuer(configuration).issue("operator", "status", 60, configuration.divisions[0].division_id)
    request = urllib.request.Request(f"{address['url']}/v1/status", headers={"Authorization": f"Bearer {token}"})
    try:
        # The certificate of a development hall is its own; the token is worth nothing anywhere else.
        context = ssl._create_unverified_context() if address["url"].startswith("https") else None
        with urllib.request.urlopen(request, timeout=STATUS_S, context=context) as response:
            status = json.load(response)
    except (OSError, ValueError, urllib.error.URLError) as error:
        print(f"the gateway at {address['url']} does not answer: {error}", file=sys.stderr)
        return 1
    print(json.dumps(status, indent=2) if options.json else status_text(address["url"], status))
    return 0 if status["is_healthy"] else NOT_HEALTHY


def _token(options: argparse.Namespace) -> int:
    configuration = _load(options)
    division_id = options.division or configuration.divisions[0].division_id
    agents = {agent.id for plan in configuration.divisions if plan.division_id == division_id for agent in plan.agents}
    if options.role == "agent" and options.sub not in agents:
        print(f"tellerhall: division {division_id} has no agent {options.sub!r} in this configuration", file=sys.stderr)
    try:
        print(_issuer(configuration).issue(options.role, options.sub, int(options.hours * 3600), division_id))
    except (ValueError, OSError) as error:
        print(f"tellerhall: {error}", file=sys.stderr)
        return 2
    return 0


def _version(_options: argparse.Namespace) -> int:
    print(metadata.version("tellerhall"))
    return 0
