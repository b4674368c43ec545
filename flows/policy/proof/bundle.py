"""One file that proves the delivery of a tenant's mail to a stranger: packed the same way every time, hash by hash.

The file is a zip. `manifest.json` names every other file with its SHA-256; `signature.json` signs the manifest.
Packing the same facts again gives the same bytes: order and time stamps are fixed.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

FORMAT: Final = "penguinmails-proof/1"
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "signature.json"
EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
LARGEST_BYTES: Final = 64 * 1024 * 1024  # of all that is unpacked: the file comes from a stranger


class Spoiled(ValueError):
    """The file is not what it says it is; the text names the first part that is wrong."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose hashes hold. `manifest` is the signed text itself."""

    about: Mapping[str, Any]
    files: Mapping[str, bytes] = field(repr=False)
    manifest: bytes = field(repr=False)
    signature: Mapping[str, Any]


def manifest_of(about: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """The text that is signed: what the bundle is about, and the hash of every file."""
    hashes = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    return as_bytes({"format": FORMAT, "about": dict(about), "files": hashes})


def packed(manifest: bytes, signature: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """The zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as pack:
        for name, content in {
            MANIFEST: manifest,
            SIGNATURE: as_bytes(signature),
            **dict(sorted(files.items())),
        }.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # as made on Unix, whatever this machine is
            pack.writestr(entry, content)
    return out.getvalue()


def unpacked(raw: bytes) -> Bundle:
    """Open a bundle and hold every file against its hash. Raises Spoiled."""
    parts = parts_of(raw)
    try:
        manifest, signature = parts.pop(MANIFEST), dict[str, Any](json.loads(parts.pop(SIGNATURE)))
        said = json.loads(manifest)
        form, hashes, about = said["format"], dict[str, str](said["files"]), dict[str, Any](said["about"])
    except (KeyError, TypeError, ValueError) as error:
        raise Spoiled(f"no readable manifest and signature: {error}") from error
    if form != FORMAT:
        raise Spoiled(f"the format is {form!r}, and not {FORMAT!r}")
    for name in sorted(hashes.keys() | parts.keys()):
        if name not in parts:
            raise Spoiled(f"{name} is missing")
        if hashlib.sha256(parts[name]).hexdigest() != hashes.get(name):
            raise Spoiled(f"{name} is not the file that the manifest names" if name in hashes else f"{name} was added")
    if packed(manifest, signature, parts) != raw:
        raise Spoiled("bytes stand in it that belong to no part")
    return Bundle(about, parts, manifest, signature)


def parts_of(raw: bytes) -> dict[str, bytes]:
    """Every file of a zip; Spoiled when it is none, too large, or holds a name twice."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as pack:
            entries = pack.infolist()
            if sum(entry.file_size for entry in entries) > LARGEST_BYTES:
                raise Spoiled(f"it unpacks to more than {LARGEST_BYTES} bytes")
            parts = {entry.filename: pack.read(entry) for entry in entries}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise Spoiled(f"not a whole zip: {error}") from error
    if len(parts) != len(entries):
        raise Spoiled("a name stands in it twice")
    return parts


def as_bytes(value: object) -> bytes:
    """JSON in one lasting form."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()
