"""A proof bundle convinces a stranger and nobody who changes a bit of it."""

import asyncio
import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from flows.__main__ import app
from flows.commands.terminal import Exit
from flows.policy.proof import Spoiled, as_bytes, manifest_of, packed, unpacked
from flows.policy.verdict import Truth
from flows.proving import examined
from flows.resources import resources
from providers.keys import new_dkim_rsa
from providers.signing import new_signing_key, signed
from sql import delivery_proofs
from sql.session import as_orchestrator
from tests.support.furnished import ADDRESS, furnished
from tests.support.product import Product
from tests.support.proof_message import HELO, KEYS, NONCE, message


def certificate(name: str) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    subject, now = x509.Name([]), datetime.now(UTC)
    made = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
            .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
            .sign(key, hashes.SHA256()))  # fmt: skip
    return made.public_bytes(serialization.Encoding.PEM).decode()


def answer(name: str, rtype: str, *values: str) -> dict[str, Any]:
    return {"name": name, "type": rtype, "outcome": "found", "values": list(values), "ttl_seconds": 300,
            "server": "203.0.113.53", "asked_at": datetime.now(UTC).isoformat()}  # fmt: skip


def evidence(host: str = HELO) -> dict[str, Any]:
    return {
        "expected": {"domain": "acme.example", "ip": str(ADDRESS), "helo": HELO, "authserv_id": "mx.bigmail.example",
                     "selectors": {"rsa": "r1", "ed25519": "e1"}, "nonce": NONCE, "receiver_mx": "mx.bigmail.example"},
        "folder": "INBOX",
        "answers": [answer(f"{selector}._domainkey.acme.example", "TXT", f"v=DKIM1; k={k.algorithm}; p={k.public_b64}")
                    for selector, k in KEYS.items()]
        + [answer(ADDRESS.reverse_pointer, "PTR", f"{HELO}."), answer(HELO, "A", str(ADDRESS))],
        "certificate": certificate(host),
    }  # fmt: skip


CHECKS = ("nonce", "spf", "dkim-rsa", "dkim-ed25519", "dmarc", "alignment", "signature-rsa", "signature-ed25519", "tls",
          "helo", "fcrdns", "placement")  # fmt: skip


async def flows(*words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, list(words))


def read(file: Path) -> bytes:
    return file.read_bytes()


def write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


async def prove(product: Product, **more: Any) -> None:
    """A tenant with one stored proof."""
    customer = product.sign_up()
    run = await furnished(customer)
    (row,) = product.rows("SELECT domain_id, smtp_ip_address_id FROM domain_ip_assignments")
    async with resources() as r, as_orchestrator(r.pool) as conn:
        proof = await delivery_proofs.intend_proof(
            conn, tenant_id=customer.pk, run_id=run.id, receiver="carol@bigmail.example", nonce=NONCE,
            message_id=f"<{NONCE}@acme.example>", **row,
        )  # fmt: skip
        await delivery_proofs.note_verdict(
            conn, proof.id, verdict="pass", checks={name: {"truth": "pass"} for name in CHECKS}, raw_message=message(),
            evidence=evidence(**more),
        )  # fmt: skip


@pytest.fixture
async def bundle(product: Product, tmp_path: Path) -> Path:
    await prove(product)
    said = await flows("proof", "acme", "--to", str(tmp_path / "p.zip"))
    assert said.exit_code == Exit.OK, said.output
    assert "1 proofs, signed by SHA256:" in said.stdout
    return tmp_path / "p.zip"


async def test_a_stranger_checks_it_with_nothing_but_the_file(bundle: Path, monkeypatch, product: Product) -> None:
    product.configure(DATABASE__CORE_DSN="postgresql://nobody@127.0.0.1:1/none", DNS__RESOLVER_PORT="1")
    key = examined(read(bundle)).fingerprint
    said = await flows("proof", "verify", str(bundle), "--key", key)
    assert said.exit_code == Exit.OK, said.output
    assert f"pass  acme.example from {ADDRESS} ({HELO}) at mx.bigmail.example" in said.stdout
    assert f"signed by {key}: as you expect" in said.stdout
    for check in (*CHECKS, "certificate"):
        assert any(line.split()[:2] == ["pass", check] for line in said.stdout.splitlines()), check


async def test_the_same_proofs_give_the_same_bytes_and_the_same_key(bundle: Path, tmp_path: Path) -> None:
    await flows("proof", "acme", "--to", str(tmp_path / "again.zip"))
    assert read(tmp_path / "again.zip") == read(bundle)


async def test_no_private_key_and_no_password_is_in_it(bundle: Path) -> None:
    parts = unpacked(read(bundle))
    everything = b"".join([*parts.files.values(), parts.manifest, as_bytes(parts.signature)])
    assert b"PRIVATE" not in everything
    assert b"CANARY" not in everything


async def test_every_changed_byte_is_found(bundle: Path) -> None:
    raw = read(bundle)
    for at in [*range(0, len(raw), 61), len(raw) - 1]:
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(Spoiled):
            examined(changed)
    for other in (raw[:-1], raw + b"x", b"x" + raw, b""):
        with pytest.raises(Spoiled):
            examined(other)


async def test_every_file_is_the_one_that_was_signed(bundle: Path) -> None:
    whole = unpacked(read(bundle))
    assert len(whole.files) == 4
    for name, content in whole.files.items():
        with pytest.raises(Spoiled, match="is not the file that the manifest names"):
            examined(packed(whole.manifest, whole.signature, {**whole.files, name: content + b"\n"}))


async def test_a_manifest_needs_its_own_signature(bundle: Path) -> None:
    whole = unpacked(read(bundle))
    other = asdict(signed(b"another manifest", new_signing_key()))
    for signature in ({**whole.signature, "signature": other["signature"]}, other, {"public_key": "x"}, {}):
        with pytest.raises(Spoiled, match="the signature is not"):
            examined(packed(whole.manifest, signature, whole.files))


def edited(raw: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """The bundle with some files changed and a manifest to match, signed by somebody else."""
    whole = unpacked(raw)
    files = dict(whole.files)
    change(files)
    manifest = manifest_of(whole.about, files)
    return packed(manifest, asdict(signed(manifest, new_signing_key())), files)


def replaced(end: str, old: bytes, new: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        (name,) = [name for name in files if name.endswith(end)]
        assert old in files[name]
        files[name] = files[name].replace(old, new)

    return change


async def test_who_signs_it_anew_is_found_by_the_key(bundle: Path) -> None:
    key = examined(read(bundle)).fingerprint
    forged = edited(read(bundle), lambda _: None)
    assert examined(forged).fingerprint != key
    write(bundle, forged)
    said = await flows("proof", "verify", str(bundle), "--key", key)
    assert (said.exit_code, "proves nothing: it is signed by" in said.stderr) == (Exit.FAILED, True)


@pytest.mark.parametrize(
    "change",
    [
        replaced("message.eml", b"This message proves", b"This message says"),
        replaced("message.eml", b"spf=pass", b"spf=fail"),
        replaced("message.eml", b"TLSv1.3", b"TLSv1.1"),
        replaced("evidence.json", KEYS["r1"].public_b64.encode(), new_dkim_rsa().public_b64.encode()),
        replaced("evidence.json", f'"{HELO}."'.encode(), b'"hwsrv-1.provider.example."'),
        replaced("evidence.json", b'"INBOX"', b'"Junk"'),
        replaced("evidence.json", f'"nonce": "{NONCE}"'.encode(), b'"nonce": "other"'),
        replaced("verdicts.json", b'"pass"', b'"fail"'),
        replaced("evidence.json", b'"expected"', b'"expacted"'),
    ],
    ids=["body", "receiver's word", "TLS", "DKIM key", "PTR", "folder", "nonce", "verdicts", "shape"],
)  # fmt: skip
async def test_a_forgery_with_hashes_that_match_is_judged_anew(
    bundle: Path, change: Callable[[dict[str, bytes]], None]
) -> None:
    with pytest.raises(Spoiled, match=r"judged again|cannot be read"):
        examined(edited(read(bundle), change))


async def test_a_file_too_many_or_too_few_is_named(bundle: Path) -> None:
    whole = unpacked(read(bundle))
    more = packed(whole.manifest, whole.signature, {**whole.files, "x.txt": b"x"})
    with pytest.raises(Spoiled, match=r"x\.txt was added"):
        examined(more)
    fewer = dict(whole.files)
    gone = next(iter(fewer))
    del fewer[gone]
    with pytest.raises(Spoiled, match=f"{gone} is missing"):
        examined(packed(whole.manifest, whole.signature, fewer))


async def test_a_zip_with_a_name_twice_is_refused(bundle: Path) -> None:
    raw = BytesIO(read(bundle))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(raw, "a") as pack:
        pack.writestr("manifest.json", b"{}")
    with pytest.raises(Spoiled, match="stands in it twice"):
        examined(raw.getvalue())


async def test_a_certificate_for_another_host_is_not_proven(product: Product, tmp_path: Path) -> None:
    await prove(product, host="other.example")
    assert (await flows("proof", "acme", "--to", str(tmp_path / "p.zip"))).exit_code == Exit.OK
    (path,) = examined(read(tmp_path / "p.zip")).paths
    assert path.truth is Truth.FAIL
    said = await flows("proof", "verify", str(tmp_path / "p.zip"))
    assert (said.exit_code, "FAIL      certificate" in said.stdout) == (Exit.FAILED, True)


async def test_a_tenant_without_proof_has_no_bundle(product: Product, tmp_path: Path) -> None:
    await furnished(product.sign_up())
    said = await flows("proof", "acme", "--to", str(tmp_path / "p.zip"))
    assert (said.exit_code, "no passing proof" in said.stderr) == (Exit.REJECTED, True)
    assert not (tmp_path / "p.zip").exists()
    assert (await flows("proof", "verify", str(tmp_path / "p.zip"))).exit_code == Exit.USAGE


def test_what_is_no_json_object_is_no_manifest() -> None:
    for manifest in (b"[]", b"x", json.dumps({"format": "other", "files": {}, "about": {}}).encode()):
        with pytest.raises(Spoiled):
            unpacked(packed(manifest, {}, {}))
