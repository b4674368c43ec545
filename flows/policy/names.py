"""Host names and mailbox addresses as people write them, brought to the one form that is stored and compared."""

import re
from typing import Final

LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
RECORD_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
LOCAL_PART: Final = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.ASCII)
FULL_STOPS: Final = re.compile("[.\u3002\uff0e\uff61]")  # RFC 3490 section 3.1: all four separate labels
# Sharp s, final sigma and the two joiners mean another domain in IDNA 2003 than in IDNA 2008; guessing could take a
# stranger's domain, so the owner has to give the A-label.
AMBIGUOUS: Final = frozenset("\u00df\u03c2\u200c\u200d\u1e9e")
MAX_NAME: Final = 253  # characters without the final dot, RFC 1035 section 2.3.4 seen as text
MAX_LOCAL: Final = 64  # RFC 5321 section 4.5.3.1.1
MAX_SHOWN: Final = 80
MAX_ADDRESS: Final = 254  # RFC 5321 section 4.5.3.1.3, without the angle brackets


def host_name(text: str) -> str:
    """Lower-case A-label form without the final dot; ValueError with one sentence for what is no domain name."""
    shown = shortened(text)
    if not text.strip():
        raise ValueError("the domain name is empty")
    if len(text) > 4 * MAX_NAME:
        raise ValueError(f"{shown} is longer than a domain name can be")
    labels = [a_label(label, shown) for label in FULL_STOPS.split(text.strip().removesuffix("."))]
    if len(labels) == 1:
        raise ValueError(f"{shown} is not a full domain name: it has no dot")
    if labels[-1].isdigit():
        raise ValueError(f"{shown} is an address or a number, not a domain name")
    name = ".".join(labels)
    if len(name) > MAX_NAME:
        raise ValueError(f"{shown} is longer than {MAX_NAME} characters")
    return name


def mailbox_address(text: str) -> tuple[str, str]:
    """Local part and host name of an address we can host, both in lower case; ValueError with one sentence."""
    shown = shortened(text)
    local, at, domain = text.strip().rpartition("@")
    if not at:
        raise ValueError(f"{shown} is not a mailbox address: it has no @")
    local = local.lower()
    if len(local) > MAX_LOCAL or not LOCAL_PART.fullmatch(local):
        raise ValueError(f"{shown} has a part before the @ that a mailbox cannot have")
    domain = host_name(domain)
    if len(local) + 1 + len(domain) > MAX_ADDRESS:
        raise ValueError(f"{shown} is longer than {MAX_ADDRESS} characters")
    return local, domain


def a_label(label: str, shown: str) -> str:
    """One label as it goes on the wire, from a label of the name `shown`."""
    if not label:
        raise ValueError(f"{shown} has an empty label: two dots meet, or it begins with one")
    if not label.isascii():
        label = encoded(label, shown)
    label = label.lower()
    if not LABEL.fullmatch(label):
        raise ValueError(f"{shown} has a label that is no host name: 1 to 63 letters, digits and inner hyphens")
    if label[2:4] == "--" and not is_a_label(label):
        raise ValueError(f"{shown} has a label with two hyphens in third place that is not a valid xn-- label")
    return label


def encoded(label: str, shown: str) -> str:
    """The A-label of a Unicode label, by the IDNA of the standard library (RFC 3490, Nameprep)."""
    if AMBIGUOUS & set(label):
        raise ValueError(
            f"{shown} has a letter that old and new software read as different domains; give its xn-- form"
        )
    try:
        return label.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError(f"{shown} has a label that cannot be written as an internationalised domain name") from None


def is_a_label(label: str) -> bool:
    """Whether `label` is xn-- and Punycode (RFC 3492) of something that needs it."""
    if not label.startswith("xn--"):
        return False
    try:
        return not label[4:].encode("ascii").decode("punycode").isascii()
    except UnicodeError:
        return False


def is_record_name(text: str) -> bool:
    """Whether `text` can own a DNS record of ours: host name labels, where underscores are allowed too."""
    name = text.removesuffix(".")
    return 0 < len(name) <= MAX_NAME and all(map(RECORD_LABEL.fullmatch, name.lower().split(".")))


def same_form(name: str) -> str:
    """A DNS name as it is compared: lower case, without the final dot."""
    return name.strip().removesuffix(".").lower()


def is_under(name: str, zone: str) -> bool:
    """Whether `name` is `zone` or lies below it; `example` does not hold `notexample`."""
    name, zone = same_form(name), same_form(zone)
    return name == zone or name.endswith(f".{zone}")


def shortened(text: str) -> str:
    """The text as it may stand in a sentence: printable, quoted, at most MAX_SHOWN characters and the quotes."""
    return repr(text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}...")
