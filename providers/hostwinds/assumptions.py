"""What we take for granted about Hostwinds without a promise from them; one real reply settles one line.

The ids are those of the design notes, so that a surprise in production points at the line to correct.
"""

from collections.abc import Mapping
from ipaddress import IPv4Network
from types import MappingProxyType

from providers.vps import ServerState

ENDPOINT = "https://clients.hostwinds.com/cloud/api.php"

# HW-A01: the vendor names no limit; one request a second, two at once after a pause.
RATE_PER_SECOND = 1.0
BURST = 2

# HW-A02: reads above 30 s were reported, an order takes longer still.
CONNECT_TIMEOUT_SECONDS = 10.0
READ_TIMEOUT_SECONDS = 60.0
CREATE_TIMEOUT_SECONDS = 120.0

# HW-A05: OpenStack Nova's words, compared in upper case.
STATES: Mapping[str, ServerState] = MappingProxyType(
    {
        "BUILD": ServerState.BUILDING,
        "REBUILD": ServerState.BUILDING,
        "RESIZE": ServerState.BUILDING,
        "VERIFY_RESIZE": ServerState.BUILDING,
        "RESIZED": ServerState.BUILDING,
        "REBOOT": ServerState.BUILDING,
        "HARD_REBOOT": ServerState.BUILDING,
        "ACTIVE": ServerState.ACTIVE,
        "SHUTOFF": ServerState.STOPPED,
        "PAUSED": ServerState.STOPPED,
        "RESCUE": ServerState.STOPPED,
        "SUSPENDED": ServerState.SUSPENDED,
        "ERROR": ServerState.ERROR,
        "DELETED": ServerState.DELETED,
        "SOFT_DELETED": ServerState.DELETED,
    }
)

# HW-A08: the label is our token; these letters and this length are assumed to come back unchanged.
TOKEN_PATTERN = r"[a-z0-9-]{1,40}"  # noqa: S105 - a pattern of labels, no credential

# HW-A16: the account of the first login.
LOGIN_USER = "root"

# HW-A19: an order that went through carries an item of this title; a payment alone is no server.
ORDER_TITLE = "add instance"

# The only two error texts that are read; success texts never are (one carries an error sentence).
REFUSED_TEXT = "not authorized"
UNKNOWN_ID_TEXT = "valid serviceid is required"

UNAUTHORIZED_ADVICE = (
    "refused: our egress IPv4 is not on the key's allow-list, or the key has expired, or the key is wrong"
)

# RFC 5737: addresses of a practice world; they count as usable there and nowhere else.
PRACTICE_NETWORKS = (
    IPv4Network("192.0.2.0/24"),
    IPv4Network("198.51.100.0/24"),
    IPv4Network("203.0.113.0/24"),
)

# HW-A17: list replies of unknown shape; an operator looks at them, code does not. Fields beside each action.
CATALOGUES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "get_locations": {},
        "get_public_images": {},
        "get_price_list": {"managed": "0"},  # without it the vendor quotes managed plans
        "get_firewall_profiles": {},
    }
)

# Reading calls that take a server: put to one that cannot exist they tell whether they exist themselves.
READS_OF_A_SERVER = ("get_instance", "get_instance_ips", "get_smtp_filters", "get_instance_firewall_profile")
NO_SERVER = "0"
