"""What is opened from settings: the sealing key above all, made once and for its owner only."""

import asyncio
import base64
import json
import os
import stat
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from flows import resources
from flows.resources import EMBEDDED_KEY_ID, sealing_keys
from providers.keys import new_ssh_key
from tests.support.product import Product
from tests.support.sshd import SSHD, USER, running_sshd

ROOT = Path(__file__).parents[2]


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Settings with an embedded database below the test's folder; nothing is started."""

    def configure(**values: str) -> Path:
        for name in [name for name in os.environ if name.startswith("PENGUINMAILS_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PENGUINMAILS_DATABASE__EMBEDDED_DIR", str(tmp_path / "ours" / "postgres"))
        for name, value in values.items():
            monkeypatch.setenv(f"PENGUINMAILS_{name}", value)
        resources.settings.cache_clear()
        return tmp_path / "ours" / "sealing.key"

    yield configure
    resources.settings.cache_clear()


def test_the_embedded_mode_makes_one_key_for_its_owner_and_keeps_it(configured) -> None:
    file = configured()
    first, active = sealing_keys()
    assert active == EMBEDDED_KEY_ID
    assert len(first[active]) == 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sealing_keys() == (first, active)
    assert base64.b64decode(file.read_bytes()) == first[active]


def test_processes_that_start_together_make_one_key_and_none_reads_half_of_it(configured, tmp_path: Path) -> None:
    file = configured()
    gate = tmp_path / "go"
    code = (
        "import sys, time, os\n"
        "from flows.resources import sealing_keys\n"
        "print('ready', flush=True)\n"
        f"while not os.path.exists({str(gate)!r}): pass\n"
        "keys, active = sealing_keys(); print(keys[active].hex())\n"
    )
    crowd = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for process in crowd:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    gate.touch()
    said = {process.communicate(timeout=60)[0].strip() for process in crowd}
    assert said == {base64.b64decode(file.read_bytes()).hex()}


def test_a_key_file_cut_short_by_a_crash_is_not_taken_for_a_key(configured) -> None:
    file = configured()
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"sealing\.key"):
        sealing_keys()


def test_a_database_of_ones_own_needs_a_key_of_ones_own(configured) -> None:
    configured(DATABASE__CORE_DSN="postgresql://db.example/core")
    with pytest.raises(ValueError, match="openssl rand -base64 32"):
        sealing_keys()


def test_given_keys_are_used_and_the_active_one_is_named(configured) -> None:
    keys = {name: base64.b64encode(bytes([number]) * 32).decode() for number, name in enumerate(("old", "new"))}
    configured(SEALING__KEYS=json.dumps(keys), SEALING__ACTIVE_KEY_ID="new")
    found, active = sealing_keys()
    assert (active, set(found)) == ("new", {"old", "new"})
    assert found["new"] == bytes([1]) * 32


def test_every_secret_of_the_settings_is_known_to_the_logs_last_net(configured) -> None:
    receiver = {"address": "a@receiver.example", "authserv_id": "r", "mx": "r", "imap_host": "r", "username": "a"}
    configured(
        HOSTWINDS__API_KEY="CANARY-api",
        DATABASE__CORE_DSN="postgresql://flows:CANARY-dsn@db.example/core",
        SEALING__KEYS='{"k": "CANARY-sealing"}',
        MAIL__PROOF_RECEIVERS=json.dumps([receiver | {"password": "CANARY-mail"}]),
    )
    known = resources.known_secrets(resources.settings())
    assert {"CANARY-api", "CANARY-sealing", "CANARY-mail", "CANARY-dsn"} <= set(known)


def test_a_password_is_known_in_every_form_of_a_connection_string(configured) -> None:
    configured(
        DATABASE__CORE_DSN="postgresql://flows:CANARY%2Furl@db.example/core",
        DATABASE__ANALYTICS_DSN="host=db.example password='CANARY words' dbname=analytics",
    )
    known = resources.known_secrets(resources.settings())
    assert {"CANARY/url", "CANARY%2Furl", "CANARY words"} <= set(known)


async def test_one_flow_opens_its_resources_once_and_closes_them(product) -> None:
    async with resources.resources() as outer:
        async with resources.resources() as inner:
            assert inner is outer
        assert not outer.pool.closed
    assert outer.pool.closed
    async with resources.resources() as later:
        assert later is not outer


async def test_two_flows_side_by_side_have_resources_of_their_own(product) -> None:
    async def pool_of_one() -> object:
        async with resources.resources() as r:
            await asyncio.sleep(0.05)
            return r.pool

    first, second = await asyncio.gather(pool_of_one(), pool_of_one())
    assert first is not second


@pytest.mark.skipif(SSHD is None, reason="needs sshd: apt-get install openssh-server")
async def test_a_login_that_waits_for_its_next_use_ends_with_the_resources(product: Product, tmp_path: Path) -> None:
    product.configure(SSH__ALLOWED_NETWORKS='["127.0.0.0/8"]')
    key = new_ssh_key()
    with running_sshd(tmp_path, key.public_line) as server:
        async with resources.resources() as r:
            door = {"port": server.port, "private_key": key.private_openssh, "host_key": server.host_key()}
            async with r.ssh.kept(IPv4Address("127.0.0.1"), user=USER, **door):
                pass
            assert len(server.sessions) == 1
        async with asyncio.timeout(30):
            while server.sessions:  # noqa: ASYNC110 (another process ends them)
                await asyncio.sleep(0.01)
