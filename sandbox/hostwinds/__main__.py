"""Run the emulator: `python -m sandbox.hostwinds --listen 127.0.0.1:0 --hosts none --admin SOCKET`.

Prints one line of JSON (api_url, api_key, admin_socket) once it serves, and ends on SIGTERM or SIGINT.
"""

import argparse
import json
import socket
from pathlib import Path

from sandbox.hostwinds.config import PROFILES, EmulatorConfig
from sandbox.hostwinds.protocol import Hosts, NoHosts
from sandbox.hostwinds.server import Provider, open_listener, serve
from sandbox.world import World


def main() -> None:
    """Serve until told to stop."""
    args = _arguments()
    host, _, port = args.listen.rpartition(":")
    hosts, listener = _world(args.hosts, (host.strip("[]"), int(port)))
    key = args.key_file.read_text().strip() if args.key_file else None

    def tell(provider: Provider) -> None:
        described = {"api_url": provider.url, "api_key": provider.api_key, "admin_socket": str(args.admin)}
        print(json.dumps(described), flush=True)

    config = EmulatorConfig(api_key=key, delays=PROFILES[args.profile])
    serve(listener, args.admin, hosts, config, folder=args.state, tell=tell)


def _world(choice: str, address: tuple[str, int]) -> tuple[Hosts, socket.socket]:
    """No hosts, or those of a running world, in whose control room the API then listens."""
    if choice == "none":
        return NoHosts(), open_listener(address)
    world = World.attach(Path(choice))
    with world.enter_control():
        return world, open_listener(address)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox.hostwinds", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", help="ADDRESS:PORT; port 0 picks a free one")
    parser.add_argument("--hosts", default="none", help="`none`, or the folder of a running world")
    parser.add_argument("--admin", type=Path, required=True, help="path of the admin socket")
    parser.add_argument("--state", type=Path, help="folder for the books; by default the admin socket's")
    parser.add_argument("--key-file", type=Path, help="file with the API key; without it one is made up")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="instant", help="how long things take")
    return parser.parse_args()


if __name__ == "__main__":
    main()
