import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from pydantic import SecretStr

from providers.errors import ProviderError, Rejected, Unauthorized, Unavailable, Unconfirmed
from providers.keys import SshKey, new_ssh_key
from providers.ssh import HostKeyChanged, Output, Shell, Ssh
from providers.ssh.link import command_for
from tests.support.sshd import SSHD, USER, Sshd, free_port, running_sshd
from tests.support.sshd_scripted import scripted_sshd

HERE = IPv4Address("127.0.0.1")
LOOPBACK = [IPv4Network("127.0.0.0/8")]
CANARY = "CANARY-5d1b"

pytestmark = pytest.mark.skipif(SSHD is None, reason="needs sshd: apt-get install openssh-server")


@pytest.fixture(scope="module")
def key() -> SshKey:
    return new_ssh_key()


@pytest.fixture(scope="module")
def server(tmp_path_factory, key: SshKey) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd"), key.public_line) as running:
        yield running


@pytest.fixture(scope="module")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


@pytest.fixture
async def ssh(executor: ThreadPoolExecutor) -> AsyncIterator[Ssh]:
    opened = Ssh(allowed_networks=LOOPBACK, executor=executor, connect_timeout_seconds=10)
    yield opened
    await opened.close()


@pytest.fixture
def own_server(tmp_path, key: SshKey) -> Iterator[Sshd]:
    with running_sshd(tmp_path, key.public_line) as running:
        yield running


@pytest.fixture
def kept(ssh: Ssh, own_server: Sshd, key: SshKey):
    def again(host_key: str = "") -> AbstractAsyncContextManager[Shell]:
        return ssh.kept(
            HERE, user=USER, port=own_server.port, private_key=key.private_openssh,
            host_key=host_key or own_server.host_key(),
        )  # fmt: skip

    return again


@pytest.fixture
def open_shell(ssh: Ssh, server: Sshd, key: SshKey):
    @asynccontextmanager
    async def opened(host_key: str | None = None) -> AsyncIterator[Shell]:
        async with ssh.connect(
            HERE, user=USER, port=server.port, private_key=key.private_openssh, host_key=host_key
        ) as shell:
            yield shell

    return opened


async def run(open_shell, script: str, *, stdin: bytes = b"", timeout_seconds: float = 20) -> Output:
    async with open_shell() as shell:
        return await shell.run(script, stdin=stdin, timeout_seconds=timeout_seconds)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 (another process makes it so)
            await asyncio.sleep(0.01)


async def appears(mark: Path) -> None:
    while not mark.exists():  # noqa: ASYNC110, ASYNC240 (another process makes the file)
        await asyncio.sleep(0.01)


async def test_a_key_opens_a_shell_and_a_script_answers(open_shell) -> None:
    output = await run(open_shell, "echo seen; echo heard >&2; exit 3")
    assert (output.status, output.stdout, output.stderr) == (3, "seen\n", "heard\n")


async def test_first_contact_reports_the_host_key_and_a_pinned_one_is_held(open_shell, server) -> None:
    async with open_shell() as shell:
        assert shell.host_key == server.host_key()
    async with open_shell(server.host_key()) as shell:
        assert shell.host_key == server.host_key()


async def test_a_server_is_held_to_the_kind_of_key_that_was_pinned(open_shell, server) -> None:
    async with open_shell(server.host_key("rsa")) as shell:
        assert shell.host_key == server.host_key("rsa")


async def test_another_host_key_is_refused_before_any_credential_is_shown(open_shell, server) -> None:
    logins = server.log.count("Accepted")
    with pytest.raises(HostKeyChanged, match=r"pinned ssh-ed25519 SHA256:.+, found ssh-ed25519 SHA256:"):
        async with open_shell(new_ssh_key().public_line):
            pass
    assert server.log.count("Accepted") == logins


async def test_a_server_without_a_key_of_the_pinned_kind_has_changed(ssh) -> None:
    with scripted_sshd("serve") as peer, pytest.raises(HostKeyChanged):
        async with ssh.connect(
            HERE, user="root", port=peer.port, password=SecretStr("right"), host_key=new_ssh_key().public_line
        ):
            pass


async def test_a_pinned_key_of_an_unknown_kind_is_refused(open_shell) -> None:
    with pytest.raises(Rejected, match="unknown kind"):
        async with open_shell("ssh-parchment AAAA"):
            pass


async def test_one_connection_and_one_command_per_run(ssh, key, tmp_path) -> None:
    with running_sshd(tmp_path, key.public_line) as own:
        async with ssh.connect(
            HERE, user=USER, port=own.port, private_key=key.private_openssh, host_key=own.host_key()
        ) as shell:
            for number in range(3):
                assert (await shell.run(f"echo {number}", timeout_seconds=20)).stdout == f"{number}\n"
        assert own.connections == 1
        assert own.commands == 3


async def test_a_login_is_taken_again_by_the_next_at_the_same_door(kept, own_server) -> None:
    for word in ("one", "two", "three"):
        async with kept() as shell:
            assert (await shell.run(f"echo {word}", timeout_seconds=20)).stdout == f"{word}\n"
    assert (own_server.connections, own_server.commands) == (1, 3)


async def test_two_at_once_have_a_login_each_and_one_of_them_stays(kept, own_server) -> None:
    async with kept():
        pass
    async with kept() as one, kept() as other:
        assert own_server.connections == 2
        assert (await one.run("echo 1", timeout_seconds=20)).stdout == "1\n"
        assert (await other.run("echo 2", timeout_seconds=20)).stdout == "2\n"
    await until(lambda: len(own_server.sessions) == 1)
    async with kept() as shell:
        await shell.run(":", timeout_seconds=20)
    assert own_server.connections == 2


async def test_a_login_that_must_be_new_is_new(kept, ssh, own_server, key) -> None:
    async with kept():
        pass
    async with ssh.connect(
        HERE, user=USER, port=own_server.port, private_key=key.private_openssh, host_key=own_server.host_key()
    ):
        assert own_server.connections == 2


async def test_a_login_whose_user_failed_is_not_taken_again(kept, own_server) -> None:
    with pytest.raises(ZeroDivisionError):
        async with kept():
            raise ZeroDivisionError
    async with kept():
        assert own_server.connections == 2


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["lost", "silent"])
async def test_a_login_that_died_while_it_waited_is_replaced(kept, own_server, blow: signal.Signals) -> None:
    async with kept():
        pass
    for process in own_server.sessions:
        os.kill(process, blow)
    async with kept() as shell:
        assert (await shell.run("echo alive", timeout_seconds=20)).stdout == "alive\n"
    assert own_server.connections == 2


async def test_a_login_is_not_taken_for_another_pinned_key_or_another_credential(kept, ssh, own_server) -> None:
    async with kept():
        pass
    with pytest.raises(HostKeyChanged):
        async with kept(new_ssh_key().public_line):
            pass
    stranger = new_ssh_key().private_openssh
    with pytest.raises(Unauthorized):
        async with ssh.kept(
            HERE, user=USER, port=own_server.port, private_key=stranger, host_key=own_server.host_key()
        ):
            pass


async def test_a_login_that_nobody_takes_ends_by_itself(executor, own_server, key) -> None:
    impatient = Ssh(allowed_networks=LOOPBACK, executor=executor, kept_seconds=0.05)
    async with impatient.kept(
        HERE, user=USER, port=own_server.port, private_key=key.private_openssh, host_key=own_server.host_key()
    ):
        assert own_server.sessions
    await until(lambda: not own_server.sessions)


async def test_at_the_end_no_login_is_left(kept, ssh, own_server) -> None:
    async with kept():
        pass
    assert own_server.sessions
    await ssh.close()
    await until(lambda: not own_server.sessions)


async def test_a_megabyte_of_input_comes_back_whole(open_shell) -> None:
    content = os.urandom(512 * 1024).hex().encode()
    output = await run(open_shell, "cat", stdin=content)
    assert output.stdout.encode() == content


async def test_a_megabyte_of_script_is_run(open_shell) -> None:
    script = "".join(f"# line {number:060d}\n" for number in range(16_000)) + "echo whole"
    assert len(script) > 1_000_000
    assert (await run(open_shell, script)).stdout == "whole\n"


async def test_input_starts_right_after_the_script(open_shell) -> None:
    output = await run(open_shell, 'read first; echo "<$first>"; cat\n', stdin="eins äöü\nzwei\n".encode())
    assert output.stdout == "<eins äöü>\nzwei\n"


async def test_script_quoting_and_here_documents_survive(open_shell) -> None:
    script = "set -eu\ncat <<'END'\nit's \"$HOME\" `x` \\n\nEND\nexit 0"
    assert (await run(open_shell, script)).stdout == 'it\'s "$HOME" `x` \\n\n'


async def test_a_script_stops_at_its_first_failure_when_it_asks_to(open_shell) -> None:
    output = await run(open_shell, "set -e\nfalse\necho never")
    assert (output.status, output.stdout) == (1, "")


async def test_neither_script_nor_input_shows_among_process_arguments(open_shell) -> None:
    look = f"secret={CANARY}; cat >/dev/null; cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    output = await run(open_shell, look, stdin=CANARY.encode())
    assert "head -c" in output.stdout
    assert CANARY not in output.stdout


async def test_a_script_that_was_cut_short_is_not_run(open_shell, tmp_path) -> None:
    command, sent = command_for(f"touch {tmp_path}/ran; touch {tmp_path}/ran-too".encode())
    process = await asyncio.create_subprocess_shell(
        command, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await process.communicate(sent[:-9])
    assert process.returncode == 125
    assert b"cut short" in stderr
    assert not list(tmp_path.iterdir())


async def test_a_script_may_leave_its_input_unread(open_shell) -> None:
    assert (await run(open_shell, "exit 7", stdin=bytes(8_000_000))).status == 7


async def test_output_on_both_streams_is_read_at_once(open_shell) -> None:
    output = await run(open_shell, "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2")
    assert (len(output.stdout), len(output.stderr)) == (3_000_000, 3_000_000)


async def test_endless_output_is_cut_off(open_shell) -> None:
    with pytest.raises(Unconfirmed, match="too much output"):
        await run(open_shell, "yes")


async def test_a_daemon_that_holds_the_output_open_does_not_hold_us(open_shell) -> None:
    output = await run(open_shell, "sleep 60 & echo $!")
    os.kill(int(output.stdout), 9)
    assert output.status == 0


async def test_a_late_command_may_have_happened(open_shell) -> None:
    async with open_shell() as shell:
        with pytest.raises(Unconfirmed, match="no end in time"):
            await shell.run("exec sleep 6", timeout_seconds=1.5)
        assert (await shell.run("echo still here", timeout_seconds=20)).stdout == "still here\n"


async def test_a_connection_lost_during_a_command_may_have_happened(open_shell, server, tmp_path) -> None:
    mark = tmp_path / "begun"

    async def lose() -> None:
        await appears(mark)
        server.drop_sessions()

    losing = asyncio.create_task(lose())
    with pytest.raises(Unconfirmed):
        await run(open_shell, f"touch {mark}; sleep 30")
    await losing


async def test_a_connection_lost_between_commands_did_nothing(open_shell, server) -> None:
    async with open_shell() as shell:
        server.drop_sessions()
        await asyncio.sleep(0.3)
        with pytest.raises(Unavailable):
            await shell.run("echo", timeout_seconds=5)


async def test_a_command_killed_by_a_signal_has_no_trustworthy_end(open_shell) -> None:
    with pytest.raises(Unconfirmed, match="without an exit status"):
        await run(open_shell, "kill -9 $$")


async def test_a_wrong_password_is_unauthorized(ssh, server) -> None:
    with pytest.raises(Unauthorized):
        async with ssh.connect(HERE, user=USER, port=server.port, password=SecretStr(CANARY), host_key=None):
            pass
    assert "Failed password" in server.log


async def test_a_foreign_key_is_unauthorized(ssh, server) -> None:
    with pytest.raises(Unauthorized):
        async with ssh.connect(
            HERE, user=USER, port=server.port, private_key=new_ssh_key().private_openssh, host_key=None
        ):
            pass


async def test_a_server_that_takes_no_passwords_is_unauthorized(ssh, key, tmp_path) -> None:
    with (
        running_sshd(tmp_path, key.public_line, passwords=False) as keys_only,
        pytest.raises(Unauthorized, match="switched off"),
    ):
        async with ssh.connect(HERE, user=USER, port=keys_only.port, password=SecretStr("x"), host_key=None):
            pass


async def test_the_right_password_opens_a_shell(ssh) -> None:
    with scripted_sshd("serve") as peer:
        async with ssh.connect(HERE, user="root", port=peer.port, password=SecretStr("right"), host_key=None) as shell:
            output = await shell.run(f"echo {CANARY}", stdin=CANARY.encode(), timeout_seconds=5)
    assert output == Output(0, "served", "")
    assert len(peer.commands) == 1
    assert CANARY.encode() not in peer.commands[0]


@pytest.mark.parametrize(
    ("manner", "error"),
    [("silent_login", Unavailable), ("drop_login", Unavailable), ("partial_login", Unauthorized)],
)
async def test_only_an_answer_refuses_a_credential(executor, manner, error) -> None:
    patience = 1 if manner == "silent_login" else 10
    impatient = Ssh(allowed_networks=LOOPBACK, executor=executor, connect_timeout_seconds=patience)
    with scripted_sshd(manner) as peer, pytest.raises(ProviderError) as failure:
        async with impatient.connect(HERE, user="root", port=peer.port, password=SecretStr("right"), host_key=None):
            pass
    assert type(failure.value) is error


@pytest.mark.parametrize(
    ("manner", "error"),
    [("refuse_commands", Rejected), ("drop_command", Unconfirmed), ("no_status", Unconfirmed)],
)
async def test_a_command_ends_in_what_is_known_about_it(ssh, manner, error) -> None:
    with scripted_sshd(manner) as peer:
        async with ssh.connect(HERE, user="root", port=peer.port, password=SecretStr("right"), host_key=None) as shell:
            with pytest.raises(ProviderError) as failure:
                await shell.run("true", timeout_seconds=5)
    assert type(failure.value) is error


async def test_a_refused_connection_is_unavailable(ssh) -> None:
    with pytest.raises(Unavailable):
        async with ssh.connect(HERE, user="root", port=free_port(), password=SecretStr("x"), host_key=None):
            pass


async def test_a_server_without_a_banner_is_unavailable(executor) -> None:
    impatient = Ssh(allowed_networks=LOOPBACK, executor=executor, connect_timeout_seconds=0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unavailable):
        async with impatient.connect(
            HERE, user="root", port=silent.getsockname()[1], password=SecretStr("x"), host_key=None
        ):
            pass


async def test_a_stalled_key_exchange_is_unavailable(executor) -> None:
    impatient = Ssh(allowed_networks=LOOPBACK, executor=executor, connect_timeout_seconds=0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def greet() -> None:
            held.append(listener.accept()[0])
            held[0].sendall(b"SSH-2.0-stalled\r\n")

        greeter = threading.Thread(target=greet)
        greeter.start()
        with pytest.raises(Unavailable):
            async with impatient.connect(
                HERE, user="root", port=listener.getsockname()[1], password=SecretStr("x"), host_key=None
            ):
                pass
        greeter.join()
        held[0].close()


async def test_banner_tells_an_ssh_server_from_silence_refusal_and_others(ssh, server) -> None:
    assert await ssh.banner(HERE, server.port, timeout_seconds=5)
    assert not await ssh.banner(HERE, free_port(), timeout_seconds=5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not await ssh.banner(HERE, silent.getsockname()[1], timeout_seconds=0.2)
    other = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with other:
        assert not await ssh.banner(HERE, other.sockets[0].getsockname()[1], timeout_seconds=5)


async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.acme.example ESMTP\r\n" + b"x" * 10_000)
    writer.close()


@pytest.mark.parametrize("networks", [None, [], [IPv4Network("198.51.100.0/24")]])
async def test_an_address_outside_the_allowed_networks_gets_no_packet(executor, networks) -> None:
    fenced = Ssh(allowed_networks=networks, executor=executor)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(Rejected, match="allowed networks"):
            async with fenced.connect(HERE, user="root", port=port, password=SecretStr("x"), host_key=None):
                pass
        with pytest.raises(Rejected, match="allowed networks"):
            await fenced.banner(HERE, port, timeout_seconds=1)
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.timeout(30)  # a connection that stayed would hold its only thread for as long as the command runs
async def test_a_cancelled_command_leaves_neither_connection_nor_thread(server, key, tmp_path) -> None:
    mark = tmp_path / "begun"
    with ThreadPoolExecutor(1) as single:
        ssh = Ssh(allowed_networks=LOOPBACK, executor=single)

        async def wait_long() -> None:
            async with ssh.connect(
                HERE, user=USER, port=server.port, private_key=key.private_openssh, host_key=None
            ) as shell:
                await shell.run(f"echo $$ >{mark}.new; mv {mark}.new {mark}; exec sleep 60", timeout_seconds=600)

        task = asyncio.create_task(wait_long())
        await appears(mark)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    os.kill(int(mark.read_text()), 9)


async def test_a_connection_given_up_while_it_waits_for_a_thread_is_never_made() -> None:
    busy = threading.Event()
    with ThreadPoolExecutor(1) as single, socket.create_server(("127.0.0.1", 0)) as listener:
        single.submit(busy.wait)
        crowded = Ssh(allowed_networks=LOOPBACK, executor=single)
        opening = crowded.connect(
            HERE, user="root", port=listener.getsockname()[1], password=SecretStr("x"), host_key=None
        )
        task = asyncio.create_task(opening.__aenter__())
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.sleep(0.05)
        busy.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        listener.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize("credentials", [{}, {"password": SecretStr("x"), "private_key": SecretStr("y")}])
async def test_exactly_one_credential_is_wanted(ssh, credentials) -> None:
    with pytest.raises(ValueError, match="password or with a key"):
        async with ssh.connect(HERE, user="root", port=1, host_key=None, **credentials):
            pass


async def test_a_script_with_a_zero_byte_is_a_mistake(open_shell) -> None:
    with pytest.raises(ValueError, match="zero byte"):
        await run(open_shell, "echo \0")


async def test_no_secret_shows_in_repr_log_or_errors(ssh, server, open_shell, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="providers.ssh.wire")
    shown = []
    for credential in (
        {"password": SecretStr(CANARY)},
        {"private_key": SecretStr(f"-----BEGIN {CANARY}-----\n{CANARY}\n")},
        {"private_key": SecretStr(CANARY)},
    ):
        with pytest.raises(Rejected) as refused:
            async with ssh.connect(HERE, user=USER, port=server.port, host_key=None, **credential):
                pass
        shown += [repr(refused.value), str(refused.value), repr(refused.value.__cause__)]
    output = await run(open_shell, f": {CANARY}; cat; cat >&2", stdin=CANARY.encode())
    async with open_shell() as shell:
        with pytest.raises(Unconfirmed) as late:
            await shell.run(f"exec sleep 6 # {CANARY}", stdin=CANARY.encode(), timeout_seconds=1.5)
        shown += [repr(shell), str(vars(shell))]
    shown += [repr(output), repr(late.value), str(late.value.__cause__), repr(ssh), caplog.text, server.log]
    assert "Authentication (password) failed" in caplog.text
    assert CANARY not in "\n".join(shown)


async def test_a_server_that_is_still_booting_does_not_fill_the_log(ssh, caplog) -> None:
    hanging_up = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with hanging_up:
        with pytest.raises(Unavailable):
            async with ssh.connect(
                HERE,
                user="root",
                port=hanging_up.sockets[0].getsockname()[1],
                password=SecretStr("x"),
                host_key=None,
            ):
                pass
    assert not caplog.records
