"""One authority: order, prove, fetch. The library blocks, so every call runs in a thread."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from acme import challenges, messages
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from providers.acme.nouns import Authorization, Challenge, Order
from providers.acme.wire import Wire, header_of
from providers.errors import Rejected, Unavailable


def new_account_key() -> SecretStr:
    """A P-256 key for an account, PEM; whoever has it can order and revoke in our name."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return SecretStr(pem.decode())


class Acme:
    """The calls we need. Raises Unavailable, Rejected, NotFound, Unauthorized; one call at a time."""

    def __init__(
        self,
        directory_url: str,
        account_key: SecretStr,
        *,
        contact: str = "",
        ca_file: Path | None = None,
        timeout_seconds: float = 30,
    ) -> None:
        """`contact` is an e-mail address the authority may write to; `ca_file` holds whom its HTTPS is trusted by."""
        self._wire = Wire(directory_url, account_key, contact=contact, ca_file=ca_file, timeout_seconds=timeout_seconds)

    async def __aenter__(self) -> Self:
        """Find our account, or make it; setting the directory was agreeing to its terms."""
        await asyncio.to_thread(self._wire.register)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._wire.close)

    async def account(self) -> str:
        """The address of our account."""
        return await asyncio.to_thread(self._wire.register)

    async def caa_identities(self) -> tuple[str, ...]:
        """The names a CAA record may permit this authority by; empty when it does not say (RFC 8555 7.1.1)."""
        return await asyncio.to_thread(self._caa_identities)

    async def place_order(self, names: Sequence[str]) -> str:
        """Order a certificate for exactly these host names; the order's address."""
        return await asyncio.to_thread(self._place_order, names)

    async def look(self, order_url: str) -> Order:
        """The order as it is now, with what is still to be proven and what was held against it."""
        return await asyncio.to_thread(self._look, order_url)

    async def answer(self, challenge: Challenge) -> None:
        """Say that the host serves the answer: the authority goes and looks, once."""
        wish = challenges.HTTP01Response(key_authorization=challenge.answer)
        await asyncio.to_thread(self._wire.post, "answer", challenge.url, wish)

    async def finalize(self, order: Order, csr_pem: str) -> None:
        """Hand in the request of a ready order. Ask for an order that is ready only."""
        wish = messages.CertificateRequest(csr=x509.load_pem_x509_csr(csr_pem.encode()))
        await asyncio.to_thread(self._wire.post, "finalize", order.finalize_url, wish)

    async def fetch_certificate(self, url: str, csr_pem: str) -> str | None:
        """The certificate and its chain, PEM; None when it is for another key than the request's."""
        return await asyncio.to_thread(self._fetch_certificate, url, csr_pem)

    # In the thread

    def _caa_identities(self) -> tuple[str, ...]:
        meta: Any = self._wire.directory().to_partial_json().get("meta")
        listed: Any = getattr(meta, "caa_identities", None) or ()
        return tuple(str(name).lower() for name in listed)

    def _place_order(self, names: Sequence[str]) -> str:
        identifiers = [messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=name) for name in names]
        url: str = self._wire.directory()["newOrder"]
        reply = self._wire.post("place_order", url, messages.NewOrder(identifiers=identifiers))
        return header_of(reply, "Location", "place_order")

    def _look(self, order_url: str) -> Order:
        order = self._wire.read("look", order_url, lambda wire: Order.from_api(wire, order_url))
        waits = [self._wire.retry_after_seconds]
        found: list[Authorization] = []
        for url in order.authorization_urls if order.status in {"pending", "invalid"} else ():
            found.append(self._wire.read("look", url, lambda wire: Authorization.from_api(wire, self._wire.answer_to)))
            waits.append(self._wire.retry_after_seconds)
        for one in found:
            if not one.offers_http:
                raise Rejected("acme", "look", f"the authority offers no HTTP-01 for {one.name}")
        return replace(
            order,
            challenges=tuple(challenge for one in found for challenge in one.challenges),
            problems=tuple(problem for one in found for problem in one.problems) or order.problems,
            retry_after_seconds=max((wait for wait in waits if wait), default=None),
        )

    def _fetch_certificate(self, url: str, csr_pem: str) -> str | None:
        pem: str = self._wire.post("fetch_certificate", url).text
        try:
            certificate = x509.load_pem_x509_certificates(pem.encode())[0]
        except ValueError as error:
            raise Unavailable("acme", "fetch_certificate", "the answer holds no certificate") from error
        asked = x509.load_pem_x509_csr(csr_pem.encode())
        return pem if certificate.public_key() == asked.public_key() else None
