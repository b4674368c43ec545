"""Input and output of one running command, both at once, until it ends or its time is over."""

import select
import time
from dataclasses import dataclass, field

import paramiko

CHUNK_BYTES = 32 * 1024
OUTPUT_LIMIT_BYTES = 16 * 1024 * 1024  # of each stream; the facts of a host are some kilobytes
PAUSE_SECONDS = 0.1
SHORT_PAUSE_SECONDS = 0.005  # paramiko does not tell when the peer opens its window again
EXIT_GRACE_SECONDS = 2.0  # a daemon that a script started may hold the output open for ever


@dataclass(frozen=True, slots=True)
class Output:
    """What a script left: its exit status and both streams, which repr does not show."""

    status: int
    stdout: str = field(repr=False)
    stderr: str = field(repr=False)


class Exchange:
    """One command's streams; EOFError when it is lost, late, or says too much."""

    def __init__(self, channel: paramiko.Channel, payload: bytes, deadline: float) -> None:
        """`deadline` is a moment of time.monotonic()."""
        self._channel = channel
        self._left = memoryview(payload)
        self._deadline = deadline
        self._stdout = bytearray()
        self._stderr = bytearray()
        self._input_open = True
        self._moved_at = time.monotonic()
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)

    def complete(self) -> Output:
        """Move bytes until the command has ended."""
        while True:
            moved = self._feed() | self._drain()
            if moved:
                self._moved_at = time.monotonic()
            elif self._ended():
                return self._output()
            else:
                self._pause()
            self._keep_limits()

    def _feed(self) -> bool:
        channel = self._channel
        if not self._input_open or channel.closed:
            self._left = self._left[:0]  # a script may end without reading its input
            return False
        if not self._left:
            channel.shutdown_write()
            self._input_open = False
            return True
        if not channel.send_ready():
            return False
        sent = channel.send(bytes(self._left[:CHUNK_BYTES]))
        self._left = self._left[sent:]
        return sent > 0

    def _drain(self) -> bool:
        moved = False
        if self._channel.recv_ready():
            self._stdout += self._channel.recv(CHUNK_BYTES)
            moved = True
        if self._channel.recv_stderr_ready():
            self._stderr += self._channel.recv_stderr(CHUNK_BYTES)
            moved = True
        return moved

    def _ended(self) -> bool:
        if self._channel.closed:
            return True
        if not self._channel.exit_status_ready():
            return False
        return bool(self._channel.eof_received) or time.monotonic() - self._moved_at > EXIT_GRACE_SECONDS

    def _pause(self) -> None:
        if self._channel.eof_received:
            time.sleep(SHORT_PAUSE_SECONDS)  # the descriptor stays readable after the end of output
        else:
            self._poll.poll(1000 * (SHORT_PAUSE_SECONDS if self._left else PAUSE_SECONDS))

    def _keep_limits(self) -> None:
        if time.monotonic() > self._deadline:
            raise EOFError("no end in time; it may still be running")
        if max(len(self._stdout), len(self._stderr)) > OUTPUT_LIMIT_BYTES:
            raise EOFError("too much output; it may still be running")

    def _output(self) -> Output:
        status = self._channel.recv_exit_status() if self._channel.exit_status_ready() else -1
        if status < 0:
            raise EOFError("the command ended without an exit status")
        return Output(status, self._stdout.decode(errors="replace"), self._stderr.decode(errors="replace"))
