"""The sandbox's command line: python -m sandbox up | status | down | shell | exec | run | demo | …, see --help."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from sandbox import prerequisites, room
from sandbox.commands import CommandFailed
from sandbox.environment import settings_of
from sandbox.hosts import NoSuchHost
from sandbox.identity import ordinary, room_owner
from sandbox.images import ensure_images
from sandbox.manners import MANNERS
from sandbox.state import DEFAULT_WORLD, NoWorldName, State, WorldBusy, checked_name
from sandbox.world import NotUp, World

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

REFUSED = 2  # what was asked cannot be done on this machine, or now
NOT_UP = 3


def main(words: Sequence[str] | None = None) -> int:
    """Carry out one command; returns its exit code."""
    given = list(sys.argv[1:] if words is None else words)
    asked = _parser().parse_args(given)
    room.arrived()
    try:
        checked_name(asked.world)  # before anything is made for it, a room included
        return _from_outside(asked, given) if ordinary() else asked.command(asked)
    except NotUp as error:
        return _say_error(error, NOT_UP)
    except (NoWorldName, WorldBusy, NoSuchHost, CommandFailed, TimeoutError) as error:
        return _say_error(error, REFUSED)


def _from_outside(asked: argparse.Namespace, given: Sequence[str]) -> int:
    """Carry out an ordinary user's command in that user's room; images are built first, for a room has no uplink."""
    raises = asked.command in {_up, _demo, _inside}
    found = prerequisites.user_lacks() if raises or asked.command is _doctor else []
    if found:
        return _print_lacks(found)
    itself = [sys.executable, "-m", "sandbox"]
    if raises or asked.command is _images:
        room.run_with_uplink([*itself, "images"])
    if asked.command is _images:
        return 0
    return room.enter([*itself, *given])


def _up(asked: argparse.Namespace) -> int:
    found = prerequisites.lacks()
    if found:
        return _print_lacks(found)
    say: Callable[[str], None] = _to_stderr if asked.json else _to_stdout
    World.up(asked.world, emulator=not asked.no_emulator, say=say)
    if asked.json:
        print(json.dumps(_world(asked).info, indent=2))
    return 0


def _down(asked: argparse.Namespace) -> int:
    World.down_named(asked.world, say=_to_stdout)
    return 0


def _status(asked: argparse.Namespace) -> int:
    world = _world(asked)
    rows: list[dict[str, Any]] = [
        {**note, "running": world.hosts.running(note["name"])} for note in world.state.noted("host")
    ]
    if asked.json:
        print(json.dumps({"info": world.info, "hosts": rows}, indent=2))
        return 0
    print(f"world {world.state.world}: {world.state.folder}/info.json")
    for row in rows:
        state = "running" if row["running"] else "off"
        addresses = ", ".join(map(str, row["addresses"]))
        print(f"{row['name']:<20} {state:<8} {row['image']:<9} {addresses:<42} {row['hostname']}")
    return 0


def _shell(asked: argparse.Namespace) -> int:
    world = _world(asked)
    _replace(world.hosts.shell_words(asked.name))


def _exec(asked: argparse.Namespace) -> int:
    stdin = b"" if sys.stdin.isatty() else sys.stdin.buffer.read()
    code, out, err = _world(asked).exec(asked.name, " ".join(asked.script), stdin)
    sys.stdout.buffer.write(out)
    sys.stderr.buffer.write(err)
    return code


def _logs(asked: argparse.Namespace) -> int:
    print(_world(asked).logs(asked.name))
    return 0


def _run(asked: argparse.Namespace) -> int:
    world = _world(asked)
    os.environ.update(settings_of(world.info))
    _replace([*world.network.control_words(), *_command_of(asked)])


def _inside(asked: argparse.Namespace) -> int:
    _replace(_command_of(asked))


def _images(asked: argparse.Namespace) -> int:
    del asked
    ensure_images()
    return 0


def _receiver(asked: argparse.Namespace) -> int:
    wish = {name: getattr(asked, name) for name in ("sender", "text", "times", "seconds", "above")}
    try:
        receiver = _world(asked).receiver(asked.domain)
    except KeyError:
        return _say_error(LookupError(f"no receiver {asked.domain!r} in this world"), REFUSED)
    receiver.behave(asked.manner, **wish)
    print(f"{asked.domain}: {asked.manner} what comes from {asked.sender or 'anybody'}")
    return 0


def _demo(asked: argparse.Namespace) -> int:
    found = prerequisites.lacks()
    if found:
        return _print_lacks(found)
    _to_stdout("without root, in a user namespace" if room_owner() else "as root of this machine")
    from sandbox import demo  # noqa: PLC0415 - only this command needs a database driver

    return demo.play(asked.world, keep=asked.keep)


def _blocklist(asked: argparse.Namespace) -> int:
    lists = _world(asked).blocklists
    try:
        if asked.put:
            lists.put(asked.name, asked.put, asked.code)
        elif asked.take_off:
            lists.take_off(asked.name, asked.take_off)
        else:
            lists.trouble(asked.name, asked.fault)
    except ValueError as error:
        return _say_error(error, REFUSED)
    return 0


def _doctor(asked: argparse.Namespace) -> int:
    if asked.install and room_owner() is None:
        prerequisites.install()
    found = prerequisites.lacks()
    if found:
        return _print_lacks(found)
    print("ready: python -m sandbox up")
    return 0


def _command_of(asked: argparse.Namespace) -> list[str]:
    return asked.words[1:] if asked.words[:1] == ["--"] else asked.words


def _world(asked: argparse.Namespace) -> World:
    world = World.attach(State(asked.world).folder)
    _ = world.info
    return world


def _replace(words: Sequence[str]) -> NoReturn:
    sys.stdout.flush()
    os.execvp(words[0], list(words))  # noqa: S606 - the command takes this process's place, so its signals and status are its own


def _print_lacks(found: Sequence[prerequisites.Lack]) -> int:
    for lack in found:
        _to_stderr(f"{lack.what}\n  cure: {lack.cure}")
    return REFUSED


def _say_error(error: Exception, code: int) -> int:
    _to_stderr(str(error))
    return code


def _to_stdout(text: str) -> None:
    print(text, flush=True)


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument(
        "--world", default=os.environ.get("PENGUINMAILS_SANDBOX__WORLD") or DEFAULT_WORLD, help="name of the world"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text)
        made.set_defaults(command=function)
        return made

    _arguments(command("up", _up, "raise the world"), json=True).add_argument("--no-emulator", action="store_true")
    _arguments(command("status", _status, "show the world's hosts"), json=True)
    command("down", _down, "remove the world")
    command("shell", _shell, "open a root shell on a host").add_argument("name")
    command("logs", _logs, "print a host's console, journal and mail log").add_argument("name")
    on_host = command("exec", _exec, "run a shell script on a host")
    on_host.add_argument("name")
    on_host.add_argument("script", nargs=argparse.REMAINDER)
    lists = command("blocklist", _blocklist, "put a subject on a blocklist or take it off, or let the list fail")
    lists.add_argument("name")
    lists.add_argument("--put", metavar="SUBJECT")
    lists.add_argument("--code")
    lists.add_argument("--take-off", metavar="SUBJECT")
    lists.add_argument("--fault", help="without any option the list is well again")
    command("run", _run, "run a command in the control room, with settings for this world").add_argument(
        "words", nargs=argparse.REMAINDER
    )
    command("inside", _inside, "run a command as root of the machine or of your room, for tests").add_argument(
        "words", nargs=argparse.REMAINDER
    )
    command("images", _images, "build the trees that hosts boot from, unless they are there")
    _manners(command("receiver", _receiver, "tell a receiver how to treat mail from now on"))
    command("demo", _demo, "play the main job: two tenants, a second run, four that must fail").add_argument(
        "--keep", action="store_true", help="leave the world up afterwards"
    )
    command("doctor", _doctor, "name what this machine lacks").add_argument("--install", action="store_true")
    return parser


def _manners(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("domain", help="bigmail.example or livemail.example")
    parser.add_argument("manner", choices=MANNERS)
    parser.add_argument("--sender", default="", help="how the envelope sender ends; without it, everybody's")
    parser.add_argument("--text", help="enhanced code and words of the answer")
    parser.add_argument("--times", type=int, help="for so many recipients, then it is over")
    parser.add_argument("--seconds", type=float, help="how long greylisting lasts, or throttling counts over")
    parser.add_argument("--above", type=int, default=0, help="throttle what comes after so many")


def _arguments(parser: argparse.ArgumentParser, **wanted: Any) -> argparse.ArgumentParser:
    if wanted.get("json"):
        parser.add_argument("--json", action="store_true", help="print JSON only")
    return parser


if __name__ == "__main__":
    sys.exit(main())
