"""An SSH server that misbehaves on request: what OpenSSH cannot be told to do."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

import paramiko

Manner = Literal["serve", "silent_login", "drop_login", "refuse_commands", "drop_command", "no_status", "partial_login"]


class Peer(paramiko.ServerInterface):
    """Knows one password; runs nothing, answers every command with its own words."""

    def __init__(self, owner: "ScriptedSshd", transport: paramiko.Transport) -> None:
        self.owner = owner
        self.transport = transport

    def get_allowed_auths(self, _username: str) -> str:
        return "password"

    def check_auth_password(self, _username: str, password: str) -> int:
        if self.owner.manner == "silent_login":
            self.owner.closing.wait(30)
        if self.owner.manner == "drop_login":
            self.transport.sock.shutdown(socket.SHUT_RDWR)
        if self.owner.manner == "partial_login":
            return paramiko.AUTH_PARTIALLY_SUCCESSFUL
        return paramiko.AUTH_SUCCESSFUL if password == self.owner.password else paramiko.AUTH_FAILED

    def check_channel_request(self, _kind: str, _chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.owner.commands.append(command)
        if self.owner.manner == "refuse_commands":
            return False
        threading.Thread(target=self.answer, args=(channel,), daemon=True).start()
        return True

    def answer(self, channel: paramiko.Channel) -> None:
        with suppress(OSError, EOFError):
            if self.owner.manner == "drop_command":
                self.transport.close()
            elif self.owner.manner == "no_status":
                channel.recv(1)  # the client sends only after it saw the command accepted
                channel.close()
            else:
                while channel.recv(65536):
                    pass
                channel.sendall(b"served")
                channel.send_exit_status(0)
                channel.close()


class ScriptedSshd:
    """Listens on loopback until closed."""

    def __init__(self, manner: Manner, password: str) -> None:
        self.manner = manner
        self.password = password
        self.commands: list[bytes] = []
        self.closing = threading.Event()
        self.key = paramiko.ECDSAKey.generate()
        self.transports: list[paramiko.Transport] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                transport = paramiko.Transport(connection)
                transport.set_log_channel("tests.sshd_scripted")
                transport.add_server_key(self.key)
                self.transports.append(transport)
                transport.start_server(threading.Event(), Peer(self, transport))

    def close(self) -> None:
        self.closing.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for transport in self.transports:
            transport.close()


@contextmanager
def scripted_sshd(manner: Manner, password: str = "right") -> Iterator[ScriptedSshd]:
    server = ScriptedSshd(manner, password)
    try:
        yield server
    finally:
        server.close()
