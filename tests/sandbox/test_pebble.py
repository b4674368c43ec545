"""The ACME authority of a world answers, is trusted through the trust file, and forgets all when it is told to."""

from pathlib import Path

import pytest

from sandbox.certificates import Authority
from sandbox.environment import settings_of
from sandbox.pebble import config
from sandbox.world import World

pytestmark = pytest.mark.sandbox


def roots(world: World) -> int:
    return Path(world.info["trust_file"]).read_text().count("BEGIN CERTIFICATE")


def test_settings_lead_to_the_authority_and_leave_the_choice_to_the_product(world: World) -> None:
    settings = settings_of(world.info)
    assert settings["PENGUINMAILS_MAIL_HOST__CERTIFICATE_ISSUER"] == "private_ca"
    assert settings["PENGUINMAILS_MAIL_HOST__ACME_DIRECTORY"] == "https://ca.lab.example:14000/dir"
    assert settings["PENGUINMAILS_MAIL__CA_FILE"] == world.info["trust_file"]


def test_mail_programs_trust_the_worlds_root_and_pebbles(world: World) -> None:
    assert roots(world) == 2
    assert Path(world.info["ca_file"]).read_text() in Path(world.info["trust_file"]).read_text()


def test_a_restart_brings_another_root_into_the_trust_file(world: World) -> None:
    before = Path(world.info["trust_file"]).read_text()
    world.pebble.restart()
    assert Path(world.info["trust_file"]).read_text() != before
    assert roots(world) == 2


def test_an_authority_that_is_down_is_told(world: World) -> None:
    world.pebble.stop()
    code, _, _ = world.exec("dns", "curl -sk https://ca.lab.example:14000/dir")
    assert code == 7  # curl: nobody takes the connection
    world.pebble.restart()


def test_its_certificate_is_of_the_worlds_own_authority(world: World, tmp_path: Path) -> None:
    stranger = Authority(tmp_path)
    stranger.make()
    look = "curl -s --cacert {} https://ca.lab.example:14000/dir"
    code, out, _ = world.exec("dns", look.format("/etc/pebble/ca.crt"))
    assert code == 0
    assert b"newOrder" in out
    code, _, _ = world.exec(
        "dns", f"cat >/tmp/stranger; {look.format('/tmp/stranger')}", stranger.certificate_file.read_bytes()
    )
    assert code == 60  # curl: the certificate is not trusted


def test_the_life_of_certificates_is_what_it_is_told() -> None:
    assert '"certificateValidityPeriod": 60' in config(60)
    assert '"httpPort": 80' in config()
