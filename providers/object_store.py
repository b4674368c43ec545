"""Files by name in one place of storage: an S3 bucket, or a folder. Put, read back, list, delete.

Both speak through obstore (docs/decisions/0410). What is written here is sealed before it comes; nothing is ever
overwritten: a name that is taken is refused.
"""

import asyncio
import hashlib
import re
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, S3Store
from pydantic import SecretStr

from providers.errors import NotFound, ProviderError, Rejected, Unauthorized, Unavailable, Unconfirmed

if TYPE_CHECKING:  # these exist for the type checker alone
    from obstore import ObjectMeta
    from obstore.store import S3Config

NAME = "object_store"
PART_BYTES = 8 * 1024**2
PARTS_LIMIT = 9_000  # S3 takes 10,000 parts of one upload
READ_BYTES = 4 * 1024**2
RETRIES = 3
STATUS = re.compile(r"status code: (\d{3})")
CODE = re.compile(r"<Code>(\w+)</Code>")
REFUSED = ("HTTP 401", "HTTP 403")  # a refused listing comes without a type of its own


@dataclass(frozen=True, slots=True)
class S3Access:
    """How an S3 server is reached. Empty fields are left to the machine's own identity (environment, instance role)."""

    endpoint: str = ""
    region: str = "us-east-1"
    access_key_id: str = ""
    secret_access_key: SecretStr = field(default_factory=lambda: SecretStr(""))


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as the listing tells of it."""

    key: str
    size_bytes: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was read: its length and the sha256 of its bytes, in hex."""

    size_bytes: int
    sha256: str


class ObjectStore:
    """One place: `s3://bucket/prefix`, or a folder, which is made when it is missing (mode 0700)."""

    def __init__(self, url: str, access: S3Access, *, timeout_seconds: float) -> None:
        """Connects to nothing yet. Raises ValueError for an address that is neither."""
        self.url = url
        self._store = _s3(url, access, timeout_seconds) if url.startswith("s3://") else _folder(url)

    async def put_file(self, key: str, source: Path) -> None:
        """Store a file under a new name. Rejected: the name is taken. Unconfirmed: look before putting again."""
        if await self.find(key) is not None:
            raise Rejected(NAME, "put_file", f"{key} is there already")
        size = (await asyncio.to_thread(source.stat)).st_size
        part = max(PART_BYTES, size // PARTS_LIMIT)
        with _our_errors("put_file", lost=Unconfirmed):
            await obstore.put_async(self._store, key, source, chunk_size=part, max_concurrency=4)

    async def fetch(self, key: str, to: Path | None = None) -> Fetched:
        """Read an object to its end, into the file `to` where one is named (what it held is gone)."""
        return await asyncio.to_thread(self._fetch, key, to)  # digest and file would hold up the loop

    def _fetch(self, key: str, to: Path | None) -> Fetched:
        digest, size = hashlib.sha256(), 0
        with _our_errors("fetch", lost=Unavailable), nullcontext() if to is None else to.open("wb") as sink:
            for piece in obstore.get(self._store, key).stream(min_chunk_size=READ_BYTES):
                digest.update(piece)
                size += len(piece)
                if sink is not None:
                    sink.write(piece)
        return Fetched(size, digest.hexdigest())

    async def find(self, key: str) -> StoredObject | None:
        """One object, or None."""
        with _our_errors("find", lost=Unavailable):
            try:
                return _stored(await obstore.head_async(self._store, key))
            except FileNotFoundError:
                return None

    async def listing(self, prefix: str) -> list[StoredObject]:
        """Everything below a prefix that ends at a slash, in the order of names."""
        with _our_errors("listing", lost=Unavailable):
            rows = await self._store.list(prefix).collect_async()  # pyright: ignore[reportUnknownMemberType]  its other overload is of a library we lack
            found = [_stored(row) for row in rows]
        return sorted(found, key=lambda one: one.key)

    async def delete(self, key: str) -> None:
        """Take an object away; one that is gone already is no failure."""
        with _our_errors("delete", lost=Unavailable):  # deleting again does no harm
            try:
                await obstore.delete_async(self._store, key)
            except FileNotFoundError:
                return


def _s3(url: str, access: S3Access, timeout_seconds: float) -> S3Store:
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError(f"{url} names no bucket: it is s3://BUCKET/PREFIX")
    config: S3Config = {"checksum_algorithm": "SHA256", "region": access.region}
    if access.endpoint:
        config["endpoint"] = access.endpoint
    if access.access_key_id:
        config["access_key_id"] = access.access_key_id
        config["secret_access_key"] = access.secret_access_key.get_secret_value()
    return S3Store(
        parts.hostname,
        prefix=parts.path.strip("/") or None,
        config=config,
        client_options={
            "allow_http": access.endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=10),
            "timeout": timedelta(seconds=timeout_seconds),
        },
        retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=timeout_seconds)},
    )


def _folder(url: str) -> LocalStore:
    folder = Path(url.removeprefix("file://")).expanduser()
    if not folder.is_absolute():
        raise ValueError(f"{url} is neither s3://BUCKET/PREFIX nor the absolute path of a folder")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return LocalStore(folder)


def _stored(row: "ObjectMeta") -> StoredObject:
    return StoredObject(row["path"], row["size"], row["last_modified"])


@contextmanager
def _our_errors(action: str, *, lost: type[ProviderError]) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(NAME, action, _said(error)) from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise Unauthorized(NAME, action, _said(error)) from error
    except AlreadyExistsError as error:
        raise Rejected(NAME, action, _said(error)) from error
    except (BaseError, OSError) as error:
        said = _said(error)
        raise (Unauthorized if said.startswith(REFUSED) else lost)(NAME, action, said) from error


def _said(error: Exception) -> str:
    """The server's status and word where it gave one, else the library's first line: below it are its structures."""
    text = str(error).strip()
    if (status := STATUS.search(text)) is not None:
        word = CODE.search(text)
        return f"HTTP {status[1]}{f' {word[1]}' if word else ''}"
    return (text.splitlines() or [type(error).__name__])[0]
