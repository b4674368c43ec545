"""A message as a receiver holds it: signed by both keys, and what the receiver says of it above."""

import base64
from datetime import UTC, datetime
from email.utils import format_datetime

import dkim
from cryptography.hazmat.primitives import serialization

from providers.keys import DkimKey, new_dkim_ed25519, new_dkim_rsa
from tests.support.furnished import ADDRESS

HELO, NONCE = "mail.acme.example", "0123abcd"
PLAIN = f"""\
From: postmaster@acme.example\r
To: carol@bigmail.example\r
Subject: Delivery proof\r
Date: {format_datetime(datetime.now(UTC))}\r
Message-ID: <{NONCE}@acme.example>\r
X-PM-Proof: {NONCE}\r
\r
This message proves.\r
""".encode()
ABOVE = f"""\
Authentication-Results: mx.bigmail.example; spf=pass smtp.mailfrom=postmaster@acme.example;\r
 dkim=pass header.d=acme.example header.a=rsa-sha256 header.s=r1;\r
 dkim=pass header.d=acme.example header.a=ed25519-sha256 header.s=e1;\r
 dmarc=pass header.from=acme.example\r
Received: from {HELO} ({HELO} [{ADDRESS}])\r
 (using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\r
 by mx.bigmail.example (Postfix) with ESMTPS id 4D1F; Sun, 22 Nov 2026 10:00:00 +0000\r
""".encode()
HEADERS = [b"from", b"to", b"subject", b"date", b"message-id", b"from"]
KEYS = {"r1": new_dkim_rsa(), "e1": new_dkim_ed25519()}


def with_signature(message: bytes, selector: str, key: DkimKey) -> bytes:
    pem = key.private_pem.get_secret_value().encode()
    if key.algorithm == "ed25519":
        private = serialization.load_pem_private_key(pem, password=None)
        pem = base64.b64encode(private.private_bytes(
            serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        ))  # fmt: skip
    name = f"{key.algorithm}-sha256".encode()
    return dkim.sign(message, selector.encode(), b"acme.example", pem, canonicalize=(b"relaxed", b"relaxed"),
                     include_headers=HEADERS, signature_algorithm=name) + message  # fmt: skip


def message() -> bytes:
    return ABOVE + with_signature(with_signature(PLAIN, "r1", KEYS["r1"]), "e1", KEYS["e1"])
