"""A sealed stream opens whole or not at all, whatever was done to it."""

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import sealed_files
from providers.sealed_files import CHUNK_BYTES, TAG_BYTES, NotWhole, opened, sealed

KEYS = {"k1": bytes(range(32)), "k2": bytes(32)}
CHUNK = CHUNK_BYTES + TAG_BYTES
HEAD = len(sealed_files.MAGIC) + 1 + 2 + sealed_files.SALT_BYTES


def closed(plain: bytes, key: str = "k1") -> bytes:
    return b"".join(sealed([plain], keys=KEYS, active_key_id=key))


def open_all(stream: bytes, keys=KEYS) -> bytes:
    return b"".join(opened(io.BytesIO(stream), keys=keys))


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_what_was_sealed_opens_again(size: int) -> None:
    plain = os.urandom(size)
    assert open_all(closed(plain)) == plain


@given(st.lists(st.binary(max_size=50)))
def test_the_pieces_may_have_any_length(pieces: list[bytes]) -> None:
    assert open_all(b"".join(sealed(pieces, keys=KEYS, active_key_id="k2"))) == b"".join(pieces)


def test_the_same_bytes_sealed_twice_look_different() -> None:
    one, other = closed(b"x" * 100), closed(b"x" * 100)
    assert one[HEAD:] != other[HEAD:]


LONG = closed(os.urandom(2 * CHUNK_BYTES + 10))
DAMAGES = {
    "a bit of the first chunk": LONG[:HEAD] + bytes([LONG[HEAD] ^ 1]) + LONG[HEAD + 1 :],
    "a bit of the salt": LONG[: HEAD - 1] + bytes([LONG[HEAD - 1] ^ 1]) + LONG[HEAD:],
    "the last byte gone": LONG[:-1],
    "the last chunk gone": LONG[: HEAD + 2 * CHUNK],
    "all but the first chunk gone": LONG[: HEAD + CHUNK],
    "all chunks gone": LONG[:HEAD],
    "the first chunk gone": LONG[:HEAD] + LONG[HEAD + CHUNK :],
    "two chunks in each other's place": (
        LONG[:HEAD] + LONG[HEAD + CHUNK : HEAD + 2 * CHUNK] + LONG[HEAD : HEAD + CHUNK] + LONG[HEAD + 2 * CHUNK :]
    ),
    "bytes added": LONG + b"x",
    "another stream added": LONG + LONG,
    "the head of another stream": closed(b"x")[:HEAD] + LONG[HEAD:],
    "half of the head": LONG[:40],
    "nothing at all": b"",
    "something else": b"PGDMP" + bytes(200),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_stream_is_refused(damage: str) -> None:
    with pytest.raises(NotWhole):
        open_all(DAMAGES[damage])


def test_a_key_that_is_missing_is_named() -> None:
    with pytest.raises(NotWhole, match="'k2'"):
        open_all(closed(b"x", "k2"), {"k1": KEYS["k1"]})


def test_another_key_under_the_same_name_opens_nothing() -> None:
    with pytest.raises(NotWhole):
        open_all(closed(b"x"), {"k1": KEYS["k2"]})


def test_no_plain_byte_stands_in_the_stream() -> None:
    assert b"ada@acme.example" not in closed(b"ada@acme.example" * 100)
