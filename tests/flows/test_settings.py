"""Settings: read from the environment and from files, refused with a reason, lax in the sandbox alone."""

import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.settings import DSNS, VENDOR_URL, Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("PENGUINMAILS_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_without_an_environment_everything_has_its_default(environment) -> None:
    found = Settings()
    assert found.hostwinds.base_url == VENDOR_URL
    assert not found.hostwinds.sandbox
    assert found.database.core_dsn is None
    assert (found.hostwinds.rate_per_second, found.hostwinds.max_creates_per_day) == (1.0, 5)


def test_groups_are_joined_by_two_underscores_and_lists_are_json(environment) -> None:
    environment.setenv("PENGUINMAILS_HOSTWINDS__BURST", "7")
    environment.setenv("PENGUINMAILS_SSH__WORKER_NETWORKS", '["10.0.0.0/8"]')
    environment.setenv("PENGUINMAILS_SEALING__KEYS", '{"k1": "CANARY-key"}')
    found = Settings()
    assert found.hostwinds.burst == 7
    assert [str(network) for network in found.ssh.worker_networks] == ["10.0.0.0/8"]
    assert found.sealing.keys["k1"].get_secret_value() == "CANARY-key"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("HOSTWINDS__BURTS", "7", "Extra inputs are not permitted"),
        ("HOSTWINDS__BURST", "many", "valid integer"),
        ("HOSTWINDS__ENVIRONMENT", "production", "String should match pattern"),
        ("HOSTWINDS__ENVIRONMENT", "Pr", "String should match pattern"),
        ("HOSTWINDS__API_KEY_EXPIRES_ON", "soon", "valid date"),
        ("HOSTWINDS__BASE_URL", "http://clients.example/cloud/api.php", "must be https"),
        ("DNS__RESOLVER", "2001:db8::1", "IPv4"),
        ("DNS__RESOLVER", "203.0.113.53", "documentation range"),
        ("SSH__WORKER_NETWORKS", '["192.0.2.1/24"]', "not a valid IPv4 network"),
        ("SSH__WORKER_NETWORKS", '["192.0.2.0/24"]', "documentation range"),
        ("SSH__ALLOWED_NETWORKS", '["198.51.100.128/25"]', "documentation range"),
        ("MAIL_HOST__CERTIFICATE_ISSUER", "self", "private_ca"),
        ("MAIL_HOST__ACME_DIRECTORY", "http://ca.example/dir", "String should match pattern"),
        ("MAIL__PROOF_RECEIVERS", '[{"address": "proof@receiver.example"}]', "Field required"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_by_name(environment, name: str, value: str, words: str) -> None:
    environment.setenv(f"PENGUINMAILS_{name}", value)
    with pytest.raises(ValidationError, match=words):
        Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSH__WORKER_NETWORKS", "10.0.0.0/8"),
        ("SEALING__KEYS", "CANARY-key"),
        ("HOSTWINDS__ADD_IP_FIELDS", '{"serviceid": CANARY}'),
        ("MAIL__PROOF_RECEIVERS", '[{"password": "CANARY"'),
        ("MAIL", "CANARY"),
    ],
)
def test_a_list_or_map_that_is_no_json_is_named_without_its_value(environment, name: str, value: str) -> None:
    environment.setenv(f"PENGUINMAILS_{name}", value)
    environment.setenv("PENGUINMAILS_BILLING__GRACE_DAYS", value if name == "MAIL" else "1")
    with pytest.raises(ValueError, match=f"^PENGUINMAILS_{name} is no JSON") as refused:
        Settings()
    assert "CANARY" not in "".join(traceback.format_exception(refused.value))


def test_the_sandbox_permits_plain_http_and_documentation_addresses(environment) -> None:
    environment.setenv("PENGUINMAILS_HOSTWINDS__SANDBOX", "true")
    environment.setenv("PENGUINMAILS_HOSTWINDS__BASE_URL", "http://203.0.113.10:8080/cloud/api.php")
    environment.setenv("PENGUINMAILS_DNS__RESOLVER", "203.0.113.53")
    environment.setenv("PENGUINMAILS_SSH__ALLOWED_NETWORKS", '["198.51.100.0/24"]')
    assert str(Settings().dns.resolver) == "203.0.113.53"


def test_settings_cannot_be_changed_once_read(environment) -> None:
    found = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        found.hostwinds.burst = 9  # pyright: ignore[reportAttributeAccessIssue] - that it is frozen is what is tested


def test_no_secret_shows_in_the_settings_text(environment) -> None:
    environment.setenv("PENGUINMAILS_HOSTWINDS__API_KEY", "CANARY-api-key")
    environment.setenv("PENGUINMAILS_DATABASE__CORE_DSN", "postgresql://u:CANARY-dsn@db.example/core")
    assert "CANARY" not in repr(Settings())


def read_with_files(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The folder is named in the environment before the module is read."""
    code = "from flows.settings import Settings; s = Settings(); print(s.hostwinds.api_key.get_secret_value())"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PENGUINMAILS_SECRETS_DIR": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_secrets_come_from_files_and_the_environment_comes_first(tmp_path: Path) -> None:
    (tmp_path / "PENGUINMAILS_HOSTWINDS__API_KEY").write_text("CANARY-from-file")
    assert read_with_files(tmp_path).stdout.strip() == "CANARY-from-file"
    both = read_with_files(tmp_path, PENGUINMAILS_HOSTWINDS__API_KEY="CANARY-from-environment")
    assert both.stdout.strip() == "CANARY-from-environment"


def test_a_file_that_is_no_json_is_named_without_its_value(tmp_path: Path) -> None:
    (tmp_path / "PENGUINMAILS_SEALING__KEYS").write_text("CANARY-from-file")
    refused = read_with_files(tmp_path)
    assert "PENGUINMAILS_SEALING__KEYS is no JSON" in refused.stderr
    assert "CANARY" not in refused.stderr


def test_a_folder_of_secrets_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    refused = read_with_files(tmp_path / "nowhere")
    assert refused.returncode != 0
    assert "nowhere" in refused.stderr


@pytest.mark.parametrize("name", DSNS)
@pytest.mark.parametrize("dsn", ["postgres//u:CANARY-dsn@127.0.0.1/x", "host=127.0.0.1 password=CANARY-dsn dbnam=x"])
def test_a_connection_string_that_cannot_be_read_is_named_without_its_value(environment, name: str, dsn: str) -> None:
    environment.setenv(f"PENGUINMAILS_DATABASE__{name.upper()}", dsn)
    with pytest.raises(ValidationError) as refused:
        Settings()
    (first,) = refused.value.errors()
    assert f"PENGUINMAILS_DATABASE__{name.upper()} is no connection string" in first["msg"]
    assert "CANARY" not in first["msg"] + str(refused.value)
