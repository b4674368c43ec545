"""The provider itself: its books, its clock, its faults, and the deeds that come true later."""

import secrets
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sandbox.hostwinds.clock import Clock
from sandbox.hostwinds.config import CURRENCY, PRICES, EmulatorConfig
from sandbox.hostwinds.faults import Faults
from sandbox.hostwinds.model import Account, Call, Charge, Deed, Machine
from sandbox.hostwinds.protocol import Hosts
from sandbox.hostwinds.store import Store

HOST_THREADS = 4
LONGEST_NAP_SECONDS = 0.5  # so that a deed is never later than this after a clock that somebody else pushed


class Emulator:
    """One provider with two customers, `ours` and `stranger`.

    Everything under `lock` is quick; what touches hosts is a deed and runs in a pool, one at a time per machine.
    """

    def __init__(
        self,
        hosts: Hosts,
        config: EmulatorConfig | None = None,
        *,
        folder: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Open the books in `folder`; a first start makes two accounts and a server of the stranger's."""
        self.hosts = hosts
        self.config = config or EmulatorConfig()
        self.faults = Faults()
        self.lock = threading.RLock()
        self._store = Store(folder)
        self.books, self.calls = self._store.load()
        self.clock = clock or Clock(shift_seconds=self.books.clock_shift_seconds)
        self._wake = threading.Condition(self.lock)
        self._running: set[int] = set()
        self._busy_machines: set[int] = set()
        self._stopped = False
        self._pool = ThreadPoolExecutor(HOST_THREADS, "host")
        self._agenda: threading.Thread | None = None
        self._open_accounts(self.config.api_key)

    def start(self, carry_out: Callable[[Deed, bool], None]) -> None:
        """Begin to do what is due; `carry_out` takes a deed, and whether an earlier run had begun it."""
        self._agenda = threading.Thread(target=self._keep_agenda, args=(carry_out,), name="agenda", daemon=True)
        self._agenda.start()

    def stop(self) -> None:
        """Finish the deeds that have begun and rest; the others stay in the books."""
        with self._wake:
            self._stopped = True
            self._wake.notify_all()
        if self._agenda:
            self._agenda.join()
        self._pool.shutdown()

    def save(self) -> None:
        """Write the books; every change of them ends with this."""
        self.books.clock_shift_seconds = self.clock.shift_seconds
        self._store.save(self.books)

    def log_call(self, call: Call) -> None:
        """Add to the request log."""
        self.calls.append(call)
        self._store.add(call)

    def push_clock(self, seconds: float) -> None:
        """Let time pass at once, and what it brings."""
        with self._wake:
            self.clock.push(seconds)
            self.save()
            self._wake.notify_all()

    def account_of(self, api_key: str) -> Account | None:
        """Whose key this is."""
        return next((account for account in self.books.accounts.values() if account.api_key == api_key), None)

    def charge(
        self, kind: str, action: str, machine: Machine | None, *, label: str = "", by_hook: bool = False
    ) -> None:
        """Add a line to the bill."""
        serviceid = machine.serviceid if machine else None
        label = machine.label if machine and not label else label
        seq, now = self.books.take_seq(), self.clock.now()
        self.books.charges.append(
            Charge(seq, now, kind, action, serviceid, label, PRICES[kind], CURRENCY, by_hook=by_hook)
        )

    def plan_deed(self, what: str, machine: Machine | None, after_seconds: float, **details: Any) -> None:
        """Note what is to come true; it is done by `deeds.py` when its time has come."""
        serviceid = machine.serviceid if machine else None
        with self._wake:
            due_at = self.clock.now() + after_seconds
            self.books.deeds.append(Deed(self.books.take_seq(), due_at, what, serviceid, details))
            self._wake.notify_all()

    def new_machine(self, account: Account, label: str, ordered: Mapping[str, str] | None = None) -> Machine:
        """Enter a server into the books; without an order it has been there all along. Nothing boots yet."""
        books, delays, now = self.books, self.config.delays, self.clock.now()
        visible_at, active_at = (
            (now, now) if ordered is None else (now + delays.visible_after, now + delays.active_after)
        )
        machine = Machine(
            serviceid=books.next_serviceid,
            account=account.name,
            label=label,
            number=books.next_number,
            template=(ordered or {}).get("template", "debian-12"),
            rid=(ordered or {}).get("rid", self.config.plans[0]),
            location_id=(ordered or {}).get("location_id", self.config.locations[0]),
            billingcycle=(ordered or {}).get("billingcycle", "monthly"),
            password=f"CANARY-{secrets.token_urlsafe(12)}",
            uuid=str(uuid.uuid4()),
            main_ip=self.take_address(),
            created_at=now,
            visible_at=visible_at,
            active_at=active_at,
            settled_at=active_at if ordered is None else active_at + delays.task_clear_after,
        )
        books.machines[machine.serviceid] = machine
        books.next_serviceid += 1
        books.next_number += 17  # the digits of the name run apart from the serviceid on purpose
        return machine

    def take_address(self) -> str:
        """Give out the next free address, round and round, so that a freed one rests first."""
        taken = set(self._addresses_in_use())
        count = self.config.last_address - self.config.first_address + 1
        for _ in range(count):
            last = self.config.first_address + self.books.next_address % count
            self.books.next_address += 1
            if (ip := f"{self.config.network}.{last}") not in taken:
                return ip
        raise RuntimeError("no address is left")

    def settle(self, timeout_seconds: float = 60.0) -> bool:
        """Wait until nothing that is due is undone; False when that takes too long."""
        with self._wake:
            return self._wake.wait_for(lambda: not self._due() and not self._running, timeout_seconds)

    def _addresses_in_use(self) -> Iterable[str]:
        undestroyed = {deed.serviceid for deed in self.books.deeds if deed.what == "destroy"}
        for machine in self.books.machines.values():
            if not machine.gone or machine.serviceid in undestroyed:
                yield from (machine.main_ip, machine.building_ip, *(extra.ip for extra in machine.extra))

    def _open_accounts(self, api_key: str | None) -> None:
        if self.books.accounts:
            if api_key:
                self.books.accounts["ours"].api_key = api_key
            return
        for name, key in (("ours", api_key or secrets.token_hex(16)), ("stranger", secrets.token_hex(16))):
            self.books.accounts[name] = Account(name, key)
        self.new_machine(self.books.accounts["stranger"], "somebody-elses")
        self.save()

    def _due(self) -> list[Deed]:
        """What is to be begun now: the first deed of each machine that is not busy."""
        due: list[Deed] = []
        claimed = set(self._busy_machines)
        for deed in sorted(self.books.deeds, key=lambda deed: (deed.due_at, deed.seq)):
            if deed.due_at > self.clock.now() or deed.seq in self._running or deed.serviceid in claimed:
                continue
            if deed.serviceid is not None:
                claimed.add(deed.serviceid)
            due.append(deed)
        return due

    def _keep_agenda(self, carry_out: Callable[[Deed, bool], None]) -> None:
        while True:
            with self._wake:
                if self._stopped:
                    return
                for deed in self._due():
                    self._begin(deed, carry_out)
                self._wake.wait(self._nap_seconds())

    def _nap_seconds(self) -> float:
        waiting = [deed.due_at for deed in self.books.deeds if deed.seq not in self._running]
        return max(0.005, min([LONGEST_NAP_SECONDS, *(due - self.clock.now() for due in waiting)]))

    def _begin(self, deed: Deed, carry_out: Callable[[Deed, bool], None]) -> None:
        again, deed.begun = deed.begun, True
        self._running.add(deed.seq)
        if deed.serviceid is not None:
            self._busy_machines.add(deed.serviceid)
        self.save()
        self._pool.submit(self._finish, deed, lambda: carry_out(deed, again))

    def _finish(self, deed: Deed, act: Callable[[], None]) -> None:
        failure = ""
        try:
            act()
        except Exception as error:  # noqa: BLE001 - whatever a host does, the provider goes on and shows ERROR
            failure = f"{deed.what}: {error}"
        with self._wake:
            self._running.discard(deed.seq)
            self._busy_machines.discard(deed.serviceid or 0)
            self.books.deeds.remove(deed)
            if failure and deed.serviceid in self.books.machines:
                self.books.machines[deed.serviceid].failure = failure
            self.save()
            self._wake.notify_all()
