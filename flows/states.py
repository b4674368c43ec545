"""Names of final states and steps: the only place where these words stand."""

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

ONBOARDING_STEPS = (
    "admit",
    "order_server",
    "await_server",
    "secure_host",
    "check_egress",
    "claim_addresses",
    "install_mail_server",
    "publish_dns",
    "set_reverse_dns",
    "issue_certificate",
    "verify_dns",
    "create_mailboxes",
    "prove_delivery",
    "start_warmup",
    "activate",
)

WAITING_FOR = {"dns": "Waiting for DNS", "provider": "Waiting for provider", "operator": "Waiting for operator"}
REJECTED = "Rejected"
ALREADY_RUNNING = "Already running"
ALREADY_ENDED = "Already ended"
CANCELLED_BY_REQUEST = "Cancelled by request"

OUR_NAMES = (*WAITING_FOR.values(), REJECTED, ALREADY_RUNNING, ALREADY_ENDED, CANCELLED_BY_REQUEST)
"""Every name beside Prefect's own; the automation that finds lost runs must know them all."""


def waiting_for(reason: str, detail: str) -> State[None]:
    """The run ended to wait. An operator's wait is red, the others come back by themselves."""
    if reason == "operator":
        return Failed(name=WAITING_FOR[reason], message=detail)
    return Completed(name=WAITING_FOR[reason], message=detail)


def rejected(detail: str) -> State[None]:
    """Refused before anything was done."""
    return Failed(name=REJECTED, message=detail)


def already_running(detail: str) -> State[None]:
    """Another process has this run: nothing to do."""
    return Completed(name=ALREADY_RUNNING, message=detail)


def already_ended(detail: str) -> State[None]:
    """The run is behind us: nothing to do."""
    return Completed(name=ALREADY_ENDED, message=detail)


def cancelled(detail: str) -> State[None]:
    """Ended between two steps because an operator asked for it."""
    return Failed(name=CANCELLED_BY_REQUEST, message=detail)


def succeeded(detail: str) -> State[None]:
    """Everything is true."""
    return Completed(message=detail)


def failed(detail: str) -> State[None]:
    """A mistake of ours: the run stays as it is until an operator retries it."""
    return Failed(message=detail)
