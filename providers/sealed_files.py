"""Streams sealed in chunks under one of our keys: what was changed, cut, joined or reordered does not open.

    magic · length of the key id (1 byte) · key id · salt (32 bytes) · chunk · … · last chunk

Each stream has an AES-256-GCM key of its own, derived from the sealing key and the salt (HKDF, RFC 5869). A chunk's
nonce is its number and, in the last byte, whether it is the last (the STREAM construction of Hoang, Reyhanitabar,
Rogaway and Vizár, CRYPTO 2015). The head is bound to every chunk. Memory: two chunks, however long the stream.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from providers.errors import Rejected

MAGIC: Final = b"penguinmails sealed stream 1\n"
PURPOSE: Final = b"penguinmails backup"
SALT_BYTES: Final = 32
CHUNK_BYTES: Final = 1024**2
TAG_BYTES: Final = 16
COUNTER_BYTES: Final = 11


@dataclass(frozen=True, slots=True)
class Written:
    """What a file holds: its length and the sha256 of its bytes, in hex."""

    size_bytes: int
    sha256: str


class NotWhole(Rejected):
    """A sealed stream is not what was sealed: changed, cut short, or closed by a key we do not have."""

    def __init__(self, detail: str) -> None:
        super().__init__("sealed_files", "open", detail)


def sealed(pieces: Iterable[bytes], *, keys: Mapping[str, bytes], active_key_id: str) -> Iterator[bytes]:
    """The sealed bytes of a stream, whose pieces may have any length."""
    salt = os.urandom(SALT_BYTES)
    name = active_key_id.encode()
    head = MAGIC + len(name).to_bytes(1, "big") + name + salt
    cipher = _cipher(keys[active_key_id], salt)
    yield head
    number = 0
    held: bytes | None = None  # the last chunk is marked, so one is kept back until the next is there
    for chunk in _even(pieces):
        if held is not None:
            yield cipher.encrypt(_nonce(number, last=False), held, head)
            number += 1
        held = chunk
    yield cipher.encrypt(_nonce(number, last=True), held or b"", head)


def opened(source: BinaryIO, *, keys: Mapping[str, bytes]) -> Iterator[bytes]:
    """The bytes that were sealed, chunk by chunk; each is proven before it is handed out, the end at the end.

    Raises NotWhole, at the latest with the last chunk: whoever acts on a part must be able to take it back.
    """
    head, key_id, salt = _head(source)
    if key_id not in keys:
        raise NotWhole(f"it was sealed with the key {key_id!r}, which is not among the sealing keys")
    cipher = _cipher(keys[key_id], salt)
    number = 0
    chunk = source.read(CHUNK_BYTES + TAG_BYTES)
    while True:
        following = source.read(CHUNK_BYTES + TAG_BYTES)
        try:
            yield cipher.decrypt(_nonce(number, last=not following), chunk, head)
        except InvalidTag as error:
            raise NotWhole(f"changed or cut short at chunk {number}") from error
        if not following:
            return
        number, chunk = number + 1, following


def write(pieces: Iterable[bytes], to: Path) -> Written:
    """Put a stream into a new file of ours alone. Blocks; raises FileExistsError."""
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as sink:
        for piece in pieces:
            digest.update(piece)
            size += sink.write(piece)
    return Written(size, digest.hexdigest())


def read(source: Path, *, keys: Mapping[str, bytes]) -> Iterator[bytes]:
    """The bytes that were sealed in a file; see `opened`."""
    with source.open("rb") as stream:
        yield from opened(stream, keys=keys)


def _head(source: BinaryIO) -> tuple[bytes, str, bytes]:
    start = source.read(len(MAGIC) + 1)
    if not start.startswith(MAGIC) or len(start) <= len(MAGIC):
        raise NotWhole("it is no sealed stream of ours")
    name, salt = source.read(start[-1]), source.read(SALT_BYTES)
    if len(salt) != SALT_BYTES:
        raise NotWhole("cut short in its head")
    return start + name + salt, name.decode(errors="replace"), salt


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=PURPOSE).derive(key))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(COUNTER_BYTES, "big") + bytes([last])


def _even(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks of one length, the last one as long as it is."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) >= CHUNK_BYTES:
            yield bytes(waiting[:CHUNK_BYTES])
            del waiting[:CHUNK_BYTES]
    if waiting:
        yield bytes(waiting)
