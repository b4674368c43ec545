"""A certificate from a real ACME authority on loopback, and every bad manner of the wire before it."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from providers.acme import Acme, Order, Problem, new_account_key
from providers.acme.wire import retry_after
from providers.errors import NotFound, Rejected, Unauthorized, Unavailable
from tests.support.pebble import BLOCKED, Pebble, Wire, failing_wire, host_answers, running_pebble

NAMES = ("mail.acme.example", "mail2.acme.example")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PATIENCE = 200


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with running_pebble(tmp_path_factory.mktemp("pebble")) as authority:
        yield authority


@pytest.fixture(scope="module")
def account_key() -> SecretStr:
    return new_account_key()


@pytest.fixture
def wire(pebble: Pebble) -> Iterator[Wire]:
    with failing_wire(pebble) as relay:
        yield relay


def client(of: Pebble | Wire, key: SecretStr, **more: float) -> Acme:
    return Acme(of.directory, key, contact="certificates@penguin.example", ca_file=of.ca_file, **more)


def request(*names: str, key: ec.EllipticCurvePrivateKey | None = None) -> str:
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


async def until(acme: Acme, url: str, *statuses: str) -> Order:
    """Look until the order has come so far; Pebble works within milliseconds."""
    for _ in range(PATIENCE):
        order = await acme.look(url)
        if order.status in statuses:
            return order
    raise AssertionError(order)


async def proven(acme: Acme, pebble: Pebble, folder: Path, *names: str) -> Order:
    """An order whose names were shown to be ours."""
    url = await acme.place_order(names)
    order = await acme.look(url)
    pairs = [word for challenge in order.challenges for word in (challenge.token, challenge.answer)]
    with host_answers(pebble.http_port, *pairs, folder=folder):
        for challenge in order.challenges:
            await acme.answer(challenge)
        return await until(acme, url, "ready", "invalid")


async def test_a_request_made_elsewhere_becomes_a_certificate_with_its_chain(pebble, account_key, tmp_path) -> None:
    csr = request(*NAMES)
    async with client(pebble, account_key) as acme:
        order = await proven(acme, pebble, tmp_path, *NAMES)
        assert (order.status, order.problems) == ("ready", ())
        await acme.finalize(order, csr)
        done = await until(acme, order.url, "valid")
        pem = await acme.fetch_certificate(done.certificate_url or "", csr)
    leaf, *chain = x509.load_pem_x509_certificates((pem or "").encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == set(NAMES)
    assert chain
    leaf.verify_directly_issued_by(chain[0])


async def test_a_certificate_for_a_key_that_is_gone_is_not_taken(pebble, account_key, tmp_path) -> None:
    csr = request("mail.beta.example")
    async with client(pebble, account_key) as acme:
        order = await proven(acme, pebble, tmp_path, "mail.beta.example")
        await acme.finalize(order, csr)
        done = await until(acme, order.url, "valid")
        assert await acme.fetch_certificate(done.certificate_url or "", request("mail.beta.example")) is None


async def test_the_same_key_finds_its_account_and_its_order_again(pebble, account_key) -> None:
    async with client(pebble, account_key) as acme:
        first, url = await acme.account(), await acme.place_order(["mail.again.example"])
    async with client(pebble, account_key) as acme:
        assert await acme.account() == first
        assert (await acme.look(url)).url == url
    async with client(pebble, new_account_key()) as stranger:
        assert await stranger.account() != first
        with pytest.raises(Rejected):
            await stranger.look(url)


async def test_an_order_the_authority_does_not_know_is_not_found(pebble, account_key) -> None:
    async with client(pebble, account_key) as acme:
        with pytest.raises(NotFound):
            await acme.look(f"https://localhost:{pebble.port}/my-order/none")


async def test_a_host_that_does_not_answer_is_told_with_its_name(pebble, account_key) -> None:
    async with client(pebble, account_key) as acme:
        order = await acme.look(await acme.place_order(["mail.silent.example"]))
        await acme.answer(order.challenges[0])
        order = await until(acme, order.url, "invalid")
    (problem,) = order.problems
    assert (problem.kind, problem.name) == ("connection", "mail.silent.example")
    assert order.challenges == ()


async def test_a_host_with_another_answer_is_told_as_such(pebble, account_key, tmp_path) -> None:
    async with client(pebble, account_key) as acme:
        order = await acme.look(await acme.place_order(["mail.wrong.example"]))
        with host_answers(pebble.http_port, order.challenges[0].token, "another", folder=tmp_path):
            await acme.answer(order.challenges[0])
            order = await until(acme, order.url, "invalid")
    assert [problem.kind for problem in order.problems] == ["unauthorized"]


async def test_a_name_the_authority_will_not_certify_is_rejected_with_its_words(pebble, account_key) -> None:
    async with client(pebble, account_key) as acme:
        with pytest.raises(Rejected, match=r"rejectedIdentifier.*blocked"):
            await acme.place_order([f"mail.{BLOCKED}"])


async def test_an_order_is_not_finalized_before_its_names_are_proven(pebble, account_key) -> None:
    async with client(pebble, account_key) as acme:
        order = await acme.look(await acme.place_order(["mail.early.example"]))
        with pytest.raises(Rejected, match="orderNotReady"):
            await acme.finalize(order, request("mail.early.example"))


async def test_twice_the_usual_refusals_of_nonces_disturb_nobody(account_key, tmp_path) -> None:
    with running_pebble(tmp_path, nonce_reject=10) as rude:
        for place in range(10):
            async with client(rude, account_key) as acme:
                assert (await acme.look(await acme.place_order([f"mail{place}.acme.example"]))).status == "pending"


async def test_a_storm_of_refused_nonces_has_an_end(wire: Wire, account_key) -> None:
    async with client(wire, account_key) as acme:
        wire.refuse("/order-plz", "badNonce", "no", status=400, times=1000)
        with pytest.raises(Unavailable, match="badNonce"):
            await acme.place_order(NAMES)
    assert wire.calls("/order-plz") == 6


def seconds(error: Unavailable) -> float | None:
    return error.retry_after_seconds


@pytest.mark.parametrize(
    ("status", "kind", "headers", "wait"),
    [
        (429, "rateLimited", {"Retry-After": "1200"}, 1200),
        (429, "rateLimited", {}, 3600),
        (403, "rateLimited", {"Retry-After": "7"}, 7),
        (503, "serverInternal", {"Retry-After": "60"}, 60),
        (500, "serverInternal", {}, None),
    ],
)
async def test_a_busy_authority_says_when_to_come_again(wire: Wire, account_key, status, kind, headers, wait) -> None:
    async with client(wire, account_key) as acme:
        wire.refuse(
            "/order-plz", kind, "too many", status, **{name.replace("-", "_"): v for name, v in headers.items()}
        )
        with pytest.raises(Unavailable, match=f"{kind}: too many") as refused:
            await acme.place_order(NAMES)
    assert seconds(refused.value) == wait
    assert wire.calls("/order-plz") == 1


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (200, b"<html>maintenance</html>", Unavailable, "without Location"),
        (201, b"[]", Unavailable, "without Location"),
        (502, b"<html>bad gateway</html>", Unavailable, "HTTP 502"),
        (503, b"", Unavailable, "HTTP 503"),
        (429, b"slow down", Unavailable, "HTTP 429"),
        (403, b"<html>forbidden</html>", Unavailable, "HTTP 403"),
        (404, b"nothing", NotFound, "HTTP 404"),
        (400, b"{}", Rejected, "no reason given"),
        (0, b"", Unavailable, "does not answer: ConnectionError"),
    ],
)
async def test_whatever_else_comes_is_sorted(wire: Wire, account_key, status, body, error, words) -> None:
    async with client(wire, account_key) as acme:
        wire.fail("/order-plz", status, body)
        with pytest.raises(error, match=words):
            await acme.place_order(NAMES)


@pytest.mark.parametrize(
    "body",
    [
        b'{"status": "pending"}', b'{"status": "unheard", "finalize": "https://x.example", "authorizations": []}',
        b"[]", b'"text"', b"null", b'{"status": "pending", "finalize": "f", "authorizations": 7}',
    ],
)  # fmt: skip
async def test_an_order_of_another_shape_is_unavailable(wire: Wire, account_key, body) -> None:
    async with client(wire, account_key) as acme:
        url = await acme.place_order(["mail.shape.example"])
        wire.fail("/my-order/", 200, body, Content_Type="application/json")
        with pytest.raises(Unavailable):
            await acme.look(url)


async def test_a_token_that_could_be_a_path_is_refused(wire: Wire, account_key) -> None:
    challenge = b'{"type": "http-01", "url": "https://x.example", "status": "pending", "token": "../../etc/cron.d/x"}'
    body = b'{"status": "pending", "identifier": {"type": "dns", "value": "a.example"}, "challenges": [%s]}' % challenge
    async with client(wire, account_key) as acme:
        url = await acme.place_order(["mail.token.example"])
        wire.fail("/authZ/", 200, body, Content_Type="application/json")
        with pytest.raises(Unavailable):
            await acme.look(url)


async def test_an_authority_without_http_01_is_rejected(wire: Wire, account_key) -> None:
    body = b'{"status": "pending", "identifier": {"type": "dns", "value": "a.example"}, "challenges": []}'
    async with client(wire, account_key) as acme:
        url = await acme.place_order(["mail.dnsonly.example"])
        wire.fail("/authZ/", 200, body, Content_Type="application/json")
        with pytest.raises(Rejected, match=r"no HTTP-01 for a\.example"):
            await acme.look(url)


async def test_the_longest_pause_asked_for_is_kept(wire: Wire, account_key) -> None:
    async with client(wire, account_key) as acme:
        url = await acme.place_order(["mail.pause.example"])
        shown = b'{"status": "processing", "finalize": "https://x.example", "authorizations": []}'
        wire.fail("/my-order/", 200, shown, Content_Type="application/json", Retry_After="90")
        order = await acme.look(url)
    assert (order.status, order.retry_after_seconds) == ("processing", 90)


async def test_what_the_order_itself_was_refused_for_is_told(wire: Wire, account_key) -> None:
    shown = (
        b'{"status": "invalid", "finalize": "https://x.example", "authorizations": [], "error": '
        b'{"type": "urn:ietf:params:acme:error:caa", "detail": "CAA of acme.example forbids",'
        b' "identifier": {"type": "dns", "value": "mail.acme.example"}}}'
    )
    async with client(wire, account_key) as acme:
        url = await acme.place_order(["mail.caa.example"])
        wire.fail("/my-order/", 200, shown, Content_Type="application/json")
        order = await acme.look(url)
    assert order.problems == (Problem("caa", "CAA of acme.example forbids", "mail.acme.example"),)


@pytest.mark.parametrize("kind", ["accountDoesNotExist", "userActionRequired", "externalAccountRequired"])
async def test_an_account_that_is_refused_stops_all_work(wire: Wire, account_key, kind) -> None:
    wire.refuse("/sign-me-up", kind, "not you", status=403)
    with pytest.raises(Unauthorized, match="not you"):
        async with client(wire, account_key):
            pass


async def test_nobody_listening_is_unavailable(pebble, account_key) -> None:
    lost = Acme("https://localhost:9/dir", account_key, ca_file=pebble.ca_file)
    with pytest.raises(Unavailable, match="https://localhost:9/dir does not answer"):
        async with lost:
            pass


async def test_an_authority_that_is_not_trusted_is_not_spoken_to(pebble, account_key) -> None:
    with pytest.raises(Unavailable, match="not trusted"):
        async with Acme(pebble.directory, account_key):
            pass


async def test_a_silent_authority_is_given_up_after_the_time_out(pebble, account_key) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        directory = f"https://localhost:{silent.getsockname()[1]}/dir"
        with pytest.raises(Unavailable, match="Timeout"):
            async with Acme(directory, account_key, ca_file=pebble.ca_file, timeout_seconds=0.05):
                pass


async def test_the_authority_need_not_say_what_caa_calls_it(pebble, wire: Wire, account_key) -> None:
    async with client(pebble, account_key) as acme:
        assert await acme.caa_identities() == ()
    wire.rename(caaIdentities=["Authority.example"])
    async with client(wire, account_key) as acme:
        assert await acme.caa_identities() == ("authority.example",)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("120", 120.0), (None, None), ("soon", None), ("-5", None), ("Sun, 22 Nov 2026 12:01:30 GMT", 90.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0), ("Sun, 22 Nov 2026 12:00:00", None),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(header: str | None, expected: float | None) -> None:
    assert retry_after(header, NOW) == expected


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----"])
def test_an_unreadable_account_key_is_refused_without_its_text(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        Acme("https://ca.example/dir", SecretStr(text))
    assert "CANARY" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_the_account_key_shows_nowhere(account_key: SecretStr) -> None:
    acme = Acme("https://ca.example/dir", account_key)
    assert "PRIVATE" not in repr(account_key) + repr(vars(acme)) + repr(vars(acme._wire))
