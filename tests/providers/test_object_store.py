"""Files in a bucket or a folder: put once, read back to the last byte, and every failure told for what it is."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from providers.errors import NotFound, Rejected, Unauthorized, Unavailable, Unconfirmed
from providers.object_store import PART_BYTES, ObjectStore, S3Access
from tests.support.s3 import S3Server, s3_server


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(running: S3Server) -> Iterator[S3Server]:
    yield running
    running.refuse, running.cut, running.alter, running.swallow = frozenset(), False, False, False


def at(server: S3Server, **changed: str) -> ObjectStore:
    named = {"endpoint": server.endpoint, "access_key_id": server.access_key_id,
             "secret_access_key": server.secret_access_key} | changed  # fmt: skip
    secret = SecretStr(named.pop("secret_access_key"))
    return ObjectStore(server.url, S3Access(**named, secret_access_key=secret), timeout_seconds=5)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return ObjectStore(str(tmp_path / "store"), S3Access(), timeout_seconds=5)
    return at(request.getfixturevalue("s3"))


def file(folder: Path, size: int) -> Path:
    path = folder / "source"
    path.write_bytes(os.urandom(size))
    return path


@pytest.mark.parametrize("size", [0, 1000, 2 * PART_BYTES + 7])
async def test_a_file_comes_back_as_it_went(store: ObjectStore, tmp_path: Path, size: int) -> None:
    source, key = file(tmp_path, size), f"round/{size}.sealed"
    await store.put_file(key, source)
    back = await store.fetch(key, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert (back.size_bytes, back.sha256) == (size, hashlib.sha256(source.read_bytes()).hexdigest())
    found = await store.find(key)
    assert found is not None
    assert (found.key, found.size_bytes) == (key, size)


async def test_a_name_that_is_taken_is_refused_and_keeps_what_it_holds(store: ObjectStore, tmp_path: Path) -> None:
    await store.put_file("once", file(tmp_path, 10))
    with pytest.raises(Rejected, match="there already"):
        await store.put_file("once", file(tmp_path, 20))
    assert (await store.fetch("once")).size_bytes == 10


async def test_the_listing_names_what_is_below_and_deleting_twice_does_no_harm(store, tmp_path: Path) -> None:
    for key in ("list/b", "list/a", "other/c"):
        await store.put_file(key, file(tmp_path, 3))
    assert [one.key for one in await store.listing("list/")] == ["list/a", "list/b"]
    for _ in range(2):
        await store.delete("list/a")
    assert [one.key for one in await store.listing("list/")] == ["list/b"]
    assert await store.listing("nothing/") == []


async def test_what_is_not_there_is_not_found(store: ObjectStore) -> None:
    assert await store.find("missing") is None
    with pytest.raises(NotFound):
        await store.fetch("missing")


async def test_a_wrong_secret_and_an_unknown_key_are_unauthorized(s3: S3Server, tmp_path: Path) -> None:
    for changed in ({"secret_access_key": "wrong"}, {"access_key_id": "nobody"}):
        with pytest.raises(Unauthorized):
            await at(s3, **changed).listing("x/")


async def test_a_refused_upload_may_have_happened_and_a_refused_read_has_not(s3: S3Server, tmp_path: Path) -> None:
    await at(s3).put_file("refused", file(tmp_path, 10))
    s3.refuse = frozenset({"PUT", "GET"})
    with pytest.raises(Unconfirmed):
        await at(s3).put_file("another", file(tmp_path, 10))
    with pytest.raises(Unavailable):
        await at(s3).fetch("refused")


async def test_a_read_that_ends_too_soon_is_no_read(s3: S3Server, tmp_path: Path) -> None:
    await at(s3).put_file("cut", file(tmp_path, 10_000))
    s3.cut = True
    with pytest.raises(Unavailable):
        await at(s3).fetch("cut")


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await at(S3Server("http://127.0.0.1:1", "bucket", "a", "b")).listing("x/")


@pytest.mark.parametrize("url", ["backups", "s3://", "https://s3.example/bucket"])
def test_an_address_that_is_neither_bucket_nor_folder_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="BUCKET"):
        ObjectStore(url, S3Access(), timeout_seconds=5)


async def test_no_message_and_no_repr_shows_the_secret(s3: S3Server) -> None:
    secret = "very-secret-value"
    store = at(s3, secret_access_key=secret)
    with pytest.raises(Unauthorized) as refused:
        await store.listing("x/")
    assert secret not in f"{refused.value} {store!r} {vars(store)!r} {refused.value.__cause__}"


def test_a_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    ObjectStore(str(tmp_path / "made"), S3Access(), timeout_seconds=5)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700
