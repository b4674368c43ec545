"""One SSH connection, blocking: it lives in a thread, and only `cut` may be called from outside it."""

import base64
import contextlib
import hashlib
import io
import logging
import secrets
import socket
import time
from contextlib import closing
from ipaddress import IPv4Address
from typing import TypeVar

import paramiko
from paramiko.ssh_exception import IncompatiblePeer
from pydantic import SecretStr

from providers.errors import ProviderError, Rejected, Unauthorized, Unavailable, Unconfirmed
from providers.ssh.exchange import Exchange, Output

KEEPALIVE_SECONDS = 15
RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")  # what an ssh-rsa key signs with, RFC 8332

# Everything that goes wrong is raised. paramiko's own log would add a traceback for each refused connection while a
# server is still booting.
WIRE_LOG = "providers.ssh.wire"
logging.getLogger(WIRE_LOG).setLevel(logging.CRITICAL)

E = TypeVar("E", bound=ProviderError)


class HostKeyChanged(Rejected):
    """The server's host key is not the pinned one: another machine, or somebody in between."""


class Login:
    """One user and one credential."""

    def __init__(self, user: str, password: SecretStr | None, private_key: SecretStr | None) -> None:
        """Raises ValueError unless exactly one credential is given, Rejected for an unreadable key."""
        if (password is None) == (private_key is None):
            raise ValueError("log in with a password or with a key, not with both or none")
        self._user = user
        self._password = password
        self._key = None if private_key is None else _ed25519(private_key)

    def offer(self, transport: paramiko.Transport) -> None:
        """Show the credential to the server."""
        if self._key is not None:
            transport.auth_publickey(self._user, self._key)
        elif self._password is not None:
            transport.auth_password(self._user, self._password.get_secret_value())


class Link:
    """One TCP connection and the SSH session on it."""

    def __init__(self, name: str, timeout_seconds: float) -> None:
        """`name` stands in error messages; the time limit holds for each stage of the connection."""
        self._name = name
        self._timeout_seconds = timeout_seconds
        self._socket: socket.socket | None = None
        self._transport: paramiko.Transport | None = None
        self._unwanted = False
        self.host_key = ""  # as the server shows it, `type base64`

    def open(self, address: IPv4Address, port: int, login: Login, pinned: str | None) -> None:
        """Connect, check the host key, log in."""
        try:
            transport = self._reach(address, port)
            self.host_key = self._negotiate(transport, pinned)
            self._log_in(transport, login)
        except (paramiko.SSHException, OSError, EOFError) as error:
            self.close()
            raise self._failed(Unavailable, "connect", f"no SSH session: {_words(error)}") from error
        except BaseException:
            self.close()
            raise
        transport.set_keepalive(KEEPALIVE_SECONDS)

    def prove(self, timeout_seconds: float) -> None:
        """Raise Unavailable unless the server still answers; nothing is run there."""
        self._channel(timeout_seconds).close()

    def run(self, script: bytes, stdin: bytes, timeout_seconds: float) -> Output:
        """Run one script in a channel of its own."""
        deadline = time.monotonic() + timeout_seconds
        command, sent = command_for(script)
        with closing(self._channel(timeout_seconds)) as channel:
            try:
                self._start(channel, command)
                return Exchange(channel, sent + stdin, deadline).complete()
            except (paramiko.SSHException, OSError, EOFError) as error:
                raise self._failed(Unconfirmed, "run", _words(error)) from error

    def cut(self) -> None:
        """End the connection from outside the working thread, which then fails at what it was doing."""
        self._unwanted = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection from the working thread."""
        self._unwanted = True
        if self._transport is not None:
            self._transport.close()
        if self._socket is not None:
            self._socket.close()

    def _reach(self, address: IPv4Address, port: int) -> paramiko.Transport:
        self._keep_wanted()
        self._socket = socket.create_connection((str(address), port), timeout=self._timeout_seconds)
        self._keep_wanted()
        transport = self._transport = paramiko.Transport(self._socket)
        transport.set_log_channel(WIRE_LOG)
        transport.banner_timeout = self._timeout_seconds
        transport.handshake_timeout = self._timeout_seconds
        transport.auth_timeout = self._timeout_seconds
        return transport

    def _keep_wanted(self) -> None:
        if self._unwanted:
            raise ConnectionAbortedError("given up before it began")

    def _negotiate(self, transport: paramiko.Transport, pinned: str | None) -> str:
        if pinned is not None:
            _ask_for_key_type(transport, pinned)
        try:
            transport.start_client(timeout=self._timeout_seconds)
            key = transport.get_remote_server_key()  # SSHException when the negotiation did not end in time
        except IncompatiblePeer as error:
            if pinned is None or "host key" not in str(error):
                raise
            raise self._failed(HostKeyChanged, "connect", "the server has no key of the pinned kind") from error
        seen = f"{key.get_name()} {key.get_base64()}"
        if pinned is not None and seen.split() != pinned.split()[:2]:
            words = f"the host key changed: pinned {_fingerprint(pinned)}, found {_fingerprint(seen)}"
            raise self._failed(HostKeyChanged, "connect", words)
        return seen

    def _log_in(self, transport: paramiko.Transport, login: Login) -> None:
        started = time.monotonic()
        try:
            login.offer(transport)
        except paramiko.BadAuthenticationType as error:
            raise self._failed(Unauthorized, "login", "this way to log in is switched off") from error
        except paramiko.AuthenticationException as error:
            # paramiko calls silence and a lost line a failed authentication too; only an answer is a refusal.
            if time.monotonic() - started >= self._timeout_seconds or not transport.is_active():
                raise self._failed(Unavailable, "login", "no answer to the credential") from error
            raise self._failed(Unauthorized, "login", "the credential was refused") from error
        if not transport.is_authenticated():
            raise self._failed(Unauthorized, "login", "the server wants a second credential")

    def _channel(self, timeout_seconds: float) -> paramiko.Channel:
        if self._transport is None:
            raise self._failed(Unavailable, "run", "not connected")
        try:
            return self._transport.open_session(timeout=timeout_seconds)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._failed(Unavailable, "run", "no connection for the command") from error

    def _start(self, channel: paramiko.Channel, command: str) -> None:
        try:
            channel.exec_command(command)
        except paramiko.SSHException as error:
            if self._transport is not None and self._transport.is_active():
                raise self._failed(Rejected, "run", "the server refuses to run commands") from error
            raise

    def _failed(self, kind: type[E], action: str, words: str) -> E:
        return kind("ssh", action, f"{self._name}: {words}")


def command_for(script: bytes) -> tuple[str, bytes]:
    """Give the fixed command line, and the script as it goes through standard input before its own input.

    The mark at the end proves that the script arrived whole: half a script is never run.
    """
    mark = f"end{secrets.token_hex(8)}"
    sent = script + mark.encode()
    command = (
        f'exec /bin/sh -c \'s=$(head -c {len(sent)}); case $s in *{mark}) eval "${{s%{mark}}}";; '
        "*) echo the script was cut short >&2; exit 125;; esac'"
    )
    return command, sent


def _ask_for_key_type(transport: paramiko.Transport, pinned: str) -> None:
    # A server has several host keys; without this it might show one that is right but not the pinned one.
    kind = pinned.split(" ", 1)[0]
    try:
        transport.get_security_options().key_types = RSA_SIGNATURES if kind == "ssh-rsa" else (kind,)
    except ValueError as error:
        raise Rejected("ssh", "connect", f"the pinned host key is of an unknown kind: {kind}") from error


def _ed25519(private_key: SecretStr) -> paramiko.Ed25519Key:
    try:
        return paramiko.Ed25519Key.from_private_key(io.StringIO(private_key.get_secret_value()))
    except (paramiko.SSHException, ValueError, IndexError):
        # Not chained: the library's message could quote the key's text.
        raise Rejected("ssh", "connect", "the private key is not readable") from None


def _fingerprint(key: str) -> str:
    kind, *rest = key.split()
    try:
        digest = hashlib.sha256(base64.b64decode(rest[0], validate=True)).digest()
    except (IndexError, ValueError):
        return f"{kind} (unreadable)"
    return f"{kind} SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
