"""Signed requests to one authority: account, nonces, time-outs, and its errors made ours. Blocking: for a thread.

Every call may be repeated. Registering finds the account of its key; a second order costs one of the authority's count
and nothing else; challenges and orders are looked at before anything is asked of them. So what was lost on the way is
Unavailable, never Unconfirmed (decision 0301).
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import requests
from acme import errors, messages
from acme.client import ClientNetwork, ClientV2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.b64 import b64encode
from josepy.errors import Error as JoseError
from josepy.interfaces import JSONDeSerializable
from josepy.jwa import ES256
from josepy.jwk import JWKEC
from pydantic import SecretStr

from providers.errors import NotFound, Rejected, Unauthorized, Unavailable

T = TypeVar("T")

USER_AGENT = "penguinmails-orchestrator"  # RFC 8555 6.1 asks for one
TOKEN = re.compile(r"[A-Za-z0-9_-]{16,200}")
NONCE_TRIES = 3  # of ours; each is two of the library's
RATE_LIMITED_SECONDS = 3600.0  # where the authority does not say for how long
NOT_FOUND, TOO_MANY, SERVER_ERROR = 404, 429, 500
REFUSED_ACCOUNT = frozenset({"accountDoesNotExist", "externalAccountRequired", "userActionRequired"})


class Wire:
    """One account at one authority."""

    def __init__(
        self, directory_url: str, account_key: SecretStr, *, contact: str, ca_file: Path | None, timeout_seconds: float
    ) -> None:
        """Nothing is sent yet. `contact` is an e-mail address or empty; no `ca_file`: the public authorities."""
        self._key = JWKEC(key=_private_key(account_key))
        self._directory_url = directory_url
        self._contact = contact
        self._net = ClientNetwork(
            self._key,
            alg=ES256,
            # requests takes a file of authorities where acme's annotation knows yes and no.
            verify_ssl=cast("bool", str(ca_file)) if ca_file else True,
            user_agent=USER_AGENT,
            timeout=cast("int", timeout_seconds),
        )
        self._directory: messages.Directory | None = None
        self._status = 0
        self._retry_after: float | None = None
        self._net.session.hooks["response"].append(self._note)

    def close(self) -> None:
        """Let go of the connections."""
        self._net.session.close()

    def directory(self) -> messages.Directory:
        """The authority's own list of addresses, asked for once."""
        if self._directory is None:
            self._directory = self._mapped("directory", lambda: ClientV2.get_directory(self._directory_url, self._net))
        return self._directory

    def register(self) -> str:
        """The address of our account: made if the authority does not know this key, else found (RFC 8555 7.3)."""
        if self._net.account is None:
            wish = messages.NewRegistration.from_data(email=self._contact or None, terms_of_service_agreed=True)
            reply = self.post("new_account", self.directory()["newAccount"], wish)
            self._net.account = messages.RegistrationResource(
                uri=header_of(reply, "Location", "new_account"), body=messages.Registration()
            )
        return str(self._net.account.uri)

    def post(self, action: str, url: str, wish: JSONDeSerializable | None = None) -> requests.Response:
        """One signed request; without `wish` it only reads (POST-as-GET, RFC 8555 6.3)."""
        new_nonce: str = self.directory()["newNonce"]

        def send() -> requests.Response:
            for tries_left in range(NONCE_TRIES - 1, -1, -1):
                try:
                    # A wish of None is the empty text that reads; the annotation forgets it.
                    return self._net.post(url, cast("JSONDeSerializable", wish), new_nonce_url=new_nonce)
                except messages.Error as error:
                    if error.code != "badNonce" or not tries_left:
                        raise
            raise AssertionError  # the loop returns or raises

        return self._mapped(action, send)

    def read(self, action: str, url: str, shape: Callable[[Any], T]) -> T:
        """Read one object into its noun; Unavailable when it has another shape than the standard's."""
        reply = self.post(action, url)
        try:
            return shape(reply.json())
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._unreadable(action, error) from error

    def answer_to(self, token: str) -> str:
        """What the host is to serve for a token: it, and the thumbprint of our key (RFC 8555 8.1)."""
        if not TOKEN.fullmatch(token):  # it becomes a path on the host
            raise ValueError("a token of another alphabet than base64url")
        return f"{token}.{b64encode(self._key.thumbprint()).decode()}"

    @property
    def retry_after_seconds(self) -> float | None:
        """What the last answer said about when to come again."""
        return self._retry_after

    def _note(self, response: requests.Response, *_: object, **__: object) -> None:
        # The library's errors hold neither the status nor the header.
        self._status = response.status_code
        self._retry_after = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))

    def _mapped(self, action: str, work: Callable[[], T]) -> T:
        self._status, self._retry_after = 0, None
        try:
            return work()
        except messages.Error as error:
            raise self._refusal(action, error) from error
        except requests.exceptions.SSLError as error:
            raise self._unavailable(action, "its TLS certificate is not trusted, or TLS failed") from error
        except requests.exceptions.RequestException as error:
            raise self._unavailable(action, f"{self._directory_url} does not answer: {type(error).__name__}") from error
        except (errors.Error, JoseError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._unreadable(action, error) from error

    def _refusal(self, action: str, error: messages.Error) -> Exception:
        kind, detail = kind_of(error), str(error.detail or error.title or "no reason given")
        said = f"{kind}: {detail}"
        if kind == "rateLimited" or self._status == TOO_MANY:
            return Unavailable("acme", action, said, retry_after_seconds=self._retry_after or RATE_LIMITED_SECONDS)
        if kind in {"badNonce", "serverInternal"} or self._status >= SERVER_ERROR:
            return self._unavailable(action, said)
        if kind in REFUSED_ACCOUNT:
            return Unauthorized("acme", action, said)
        return (NotFound if self._status == NOT_FOUND else Rejected)("acme", action, said)

    def _unreadable(self, action: str, error: Exception) -> Exception:
        if self._status == TOO_MANY:
            wait = self._retry_after or RATE_LIMITED_SECONDS
            return Unavailable("acme", action, "HTTP 429", retry_after_seconds=wait)
        if self._status == NOT_FOUND:
            return NotFound("acme", action, "HTTP 404")
        return self._unavailable(action, f"HTTP {self._status}, not an answer of ACME ({type(error).__name__})")

    def _unavailable(self, action: str, detail: str) -> Unavailable:
        return Unavailable("acme", action, detail, retry_after_seconds=self._retry_after)


def kind_of(error: messages.Error) -> str:
    """The last word of a problem's type; ours are the words of RFC 8555 6.7."""
    return str(error.typ).rpartition(":")[2]


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date (RFC 9110 10.2.3); None for anything else."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - now).total_seconds())
    except (TypeError, ValueError):  # no date, or one without a zone
        return None


def header_of(reply: requests.Response, name: str, action: str) -> str:
    """One header; Unavailable when the answer lacks it."""
    found = reply.headers.get(name)
    if not found:
        raise Unavailable("acme", action, f"an answer without {name}")
    return found


def _private_key(account_key: SecretStr) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(account_key.get_secret_value().encode(), password=None)
    except (ValueError, TypeError):
        raise Rejected("acme", "account_key", "the account key is not readable") from None  # it could quote the key
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Rejected("acme", "account_key", "the account key is not a P-256 key")
    return key
