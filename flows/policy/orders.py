"""Tokens of what is bought, and when a purchase may still be looked for."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

BASE36: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
CROCKFORD: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case, as ULIDs use it
ENTROPY_BYTES: Final = 10
TOKEN: Final = re.compile(rf"pm-.+-[{BASE36}]+-[{CROCKFORD}]{{26}}")
CIRCUIT: Final = 2  # purchases in a row that were never seen again


@dataclass(frozen=True, slots=True)
class Windows:
    """How long a server may take from one state to the next."""

    listed: timedelta
    active: timedelta
    ssh: timedelta


def server_token(environment: str, tenant_id: int, at: datetime, entropy: bytes) -> str:
    """`pm-<environment>-<tenant>-<ulid>`: the label by which a paid server is found again; at most 40 characters."""
    return f"pm-{environment}-{base36(tenant_id)}-{ulid(at, entropy)}"


def is_server_token(label: str) -> bool:
    """Whether a label is such a token, of this installation or another."""
    return TOKEN.fullmatch(label) is not None


def base36(number: int) -> str:
    """A positive row id in base 36."""
    digits = ""
    while number:
        number, digit = divmod(number, len(BASE36))
        digits = BASE36[digit] + digits
    return digits or "0"


def ulid(at: datetime, entropy: bytes) -> str:
    """26 characters that sort by time: 48 bits of milliseconds, 80 bits of entropy."""
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"a ULID takes {ENTROPY_BYTES} bytes of entropy, got {len(entropy)}")
    number = (int(at.timestamp() * 1000) << 8 * ENTROPY_BYTES) | int.from_bytes(entropy)
    return "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def circuit_open(newest_states: tuple[str, ...]) -> bool:
    """Whether the last purchases all vanished: then labels are probably not kept, and buying on would buy blindly."""
    return len(newest_states) >= CIRCUIT and all(state == "needs_operator" for state in newest_states[:CIRCUIT])


def pause_seconds(look: int, first: float, most: float) -> float:
    """Pause after look number `look` (from 0): grows by half each time, up to `most`."""
    return min(most, first * 1.5 ** min(look, 40))
