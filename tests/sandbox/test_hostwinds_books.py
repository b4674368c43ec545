import json
from pathlib import Path

import httpx
import pytest

from sandbox.hostwinds.admin import AdminRefused
from sandbox.hostwinds.clock import Clock
from sandbox.hostwinds.config import EmulatorConfig
from sandbox.hostwinds.model import Books, books_of
from tests.support.provider import TOKEN, played_provider


def test_a_restarted_provider_knows_its_servers_its_ledger_and_its_time(tmp_path: Path) -> None:
    with played_provider(tmp_path) as played:
        played.order()
        played.admin.buy_ip(played.rows()[0]["serviceid"])
        played.admin.advance(5000)
        key, row, charges = played.provider.api_key, played.admin.servers(), played.admin.charges()
        calls = played.admin.calls()
    with played_provider(tmp_path) as played:
        assert played.provider.api_key == key
        assert (played.admin.servers(), played.admin.charges(), played.admin.calls()) == (row, charges, calls)
        assert played.provider.emulator.clock.shift_seconds == 5000
        played.order("another")
        assert [server["label"] for server in played.admin.servers()] == [TOKEN, "another"]
        assert len({charge["seq"] for charge in played.admin.charges()}) == 3


def test_what_was_promised_before_a_restart_is_kept_after_it(tmp_path: Path) -> None:
    with played_provider(tmp_path) as played:
        played.admin.profile("instant", ssh_after=900, ptr_delay=1800)
        played.order()
        ip = played.rows()[0]["main_ip"]
        played.call("set_rdns", serviceid=played.rows()[0]["serviceid"], ip=ip, rdns="mail.acme.example")
        assert played.wishes("create_host") == []
    with played_provider(tmp_path) as played:
        played.admin.advance(1800)
        assert len(played.wishes("create_host")) == 1
        assert ("set_ptr", ip, "mail.acme.example") in played.hosts.wishes


def test_a_host_whose_making_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    with played_provider(tmp_path) as played:
        played.admin.profile("instant", ssh_after=900)
        played.order()
    books = tmp_path / "books.json"
    document = json.loads(books.read_text())
    document["deeds"][0]["begun"] = True
    books.write_text(json.dumps(document))
    with played_provider(tmp_path) as played:
        played.admin.advance(900)
        assert played.admin.settle()
        kinds = [wish[0] for wish in played.hosts.wishes]
        assert kinds.index("destroy_host") < kinds.index("create_host")


def test_a_late_effect_that_may_have_happened_is_not_done_again(tmp_path: Path) -> None:
    with played_provider(tmp_path) as played:
        played.admin.fault("late_effect", seconds=900)
        with pytest.raises(httpx.RemoteProtocolError):
            played.order()
    books = tmp_path / "books.json"
    document = json.loads(books.read_text())
    document["deeds"][0]["begun"] = True
    books.write_text(json.dumps(document))
    with played_provider(tmp_path) as played:
        played.admin.advance(900)
        assert played.admin.settle()
        assert played.admin.servers() == []


def test_the_books_are_not_for_every_eye(tmp_path: Path) -> None:
    with played_provider(tmp_path) as played:
        played.order()
        assert (tmp_path / "books.json").stat().st_mode & 0o077 == 0
        assert Path(played.admin._path).stat().st_mode & 0o077 == 0


def test_a_given_key_is_the_accounts_key(tmp_path: Path) -> None:
    with played_provider(tmp_path, EmulatorConfig(api_key="given")) as played:
        assert played.rows() == []
        assert "given" not in repr(played.provider.emulator.config)


def test_books_survive_the_way_to_disk_and_back() -> None:
    assert books_of(json.loads(json.dumps(Books().as_document()))) == Books()


def test_time_never_runs_backwards() -> None:
    clock = Clock(lambda: 100.0)
    clock.push(5)
    assert clock.now() == 105
    with pytest.raises(ValueError, match="forward"):
        clock.push(-1)


def test_a_human_in_the_panel_orders_renames_locks_and_deletes() -> None:
    with played_provider() as played:
        serviceid = played.admin.create_in_panel("by-hand")
        played.admin.ask("rename_in_panel", serviceid=serviceid, label="renamed")
        played.admin.ask("suspend", serviceid=serviceid)
        assert played.rows()[0]["status"] == "SUSPENDED"
        played.admin.ask("unsuspend", serviceid=serviceid)
        played.admin.ask("lock_in_panel", serviceid=serviceid)
        (row,) = played.rows()
        assert (row["srvrname"], row["status"], int(row["locked"])) == ("renamed", "ACTIVE", 1)
        played.admin.ask("reboot_in_panel", serviceid=serviceid)
        assert played.wishes("restart_host") == [("restart_host", f"s{serviceid}")]
        played.admin.ask("place_smtp_filter", serviceid=serviceid)
        assert len(played.call("get_smtp_filters")["success"]["spam"]) == 1
        played.admin.ask("clear_smtp_filter", serviceid=serviceid)
        assert played.call("get_smtp_filters")["success"]["spam"] == []
        played.admin.port25(serviceid, open_=False, direction="in")
        assert played.wishes("block_port25")[-1][2:] == ("in", "on")
        played.admin.port25(serviceid, open_=True, direction="in")
        assert played.wishes("block_port25")[-1][2:] == ("in", "off")
        played.admin.ask("delete_in_panel", serviceid=serviceid)
        assert played.rows() == []
        assert [charge["by_hook"] for charge in played.admin.charges()] == [True]
        assert played.admin.violations() == []


@pytest.mark.parametrize(
    "wish", [("dance", {}), ("buy_ip", {"serviceid": 1}), ("buy_ip", {}), ("profile", {"name": "x"})]
)
def test_a_wish_that_makes_no_sense_is_answered(wish: tuple[str, dict[str, object]]) -> None:
    with played_provider() as played:
        with pytest.raises(AdminRefused):
            played.admin.ask(wish[0], **wish[1])
        assert played.rows() == []


def test_a_host_that_cannot_be_made_shows_as_an_error() -> None:
    with played_provider() as played:

        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("no room")

        played.hosts.create_host = fail
        played.order()
        assert played.admin.settle()
        assert played.rows()[0]["status"] == "ERROR"
        assert "no room" in played.admin.servers()[0]["failure"]
