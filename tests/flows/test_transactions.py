"""No transaction is open across an outside call: every block that holds one is read, and the server is asked."""

import ast
import importlib
import inspect
import pkgutil
import ssl
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import psycopg
import pytest

import providers
from flows.notifying import swept
from flows.resources import resources
from tests.support.product import Product
from tests.support.smtp import SmtpServer, submission_server
from tests.support.smtp_tls import server_context

ROOT = Path(__file__).parents[2]
DOORS = {"as_orchestrator", "as_tenant"}
FILES = sorted(path for path in (ROOT / "flows").rglob("*.py") if "policy" not in path.parts)
OPEN = """
    SELECT state, left(query, 80) FROM pg_stat_activity
     WHERE datname = current_database() AND application_name LIKE 'penguin:%' AND state LIKE 'idle in transaction%'
"""


def is_door(call: ast.expr) -> bool:
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in DOORS


def transactions(tree: ast.AST) -> Iterator[tuple[str, list[ast.stmt]]]:
    """The name of the connection and the body of every block that holds a transaction."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncWith):
            for item in node.items:
                if is_door(item.context_expr):
                    name = item.optional_vars.id if isinstance(item.optional_vars, ast.Name) else ""
                    yield name, node.body


def outside(name: str, body: list[ast.stmt]) -> list[str]:
    """What is waited for inside a transaction without having its connection: it cannot be the database."""
    found: list[str] = []
    for statement in body:
        for node in ast.walk(statement):
            waited = node.value if isinstance(node, ast.Await) else None
            entered = [item.context_expr for item in node.items] if isinstance(node, ast.AsyncWith) else []
            for call in filter(None, [waited, *entered]):
                words = {word.id for word in ast.walk(call) if isinstance(word, ast.Name)}
                if name not in words:
                    found.append(f"line {call.lineno}: {ast.unparse(call)[:80]}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_waited_for_in_a_transaction_has_its_connection(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert [fault for name, body in transactions(tree) for fault in outside(name, body)] == []


def test_the_reading_finds_an_outside_call() -> None:
    planted = "async def f(r):\n async with as_orchestrator(r.pool) as conn:\n  await sql.x(conn)\n  await r.vps.y()\n"
    ((name, body),) = transactions(ast.parse(planted))
    assert outside(name, body) == ["line 4: r.vps.y()"]


def outside_calls() -> Iterator[tuple[type, str, Callable[..., Any]]]:
    """Every public coroutine method of every class under providers/."""
    for module in pkgutil.walk_packages(providers.__path__, "providers."):
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if found.__module__ == module.name:
                for name, method in vars(found).items():
                    if inspect.iscoroutinefunction(method) and not name.startswith("_"):
                        yield found, name, method


@pytest.fixture
def watched(product: Product, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the outside calls that were made; each looked for an open transaction before the real one ran."""
    made: list[str] = []

    def watching(label: str, real: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(real)
        async def looked(*words: Any, **named: Any) -> Any:
            made.append(label)
            with psycopg.connect(product.dsn, autocommit=True) as other:
                assert other.execute(OPEN).fetchall() == [], f"a transaction is open across {label}"
            return await real(*words, **named)

        return looked

    for owner, name, method in outside_calls():
        monkeypatch.setattr(owner, name, watching(f"{owner.__name__}.{name}", method))
    return made


async def test_ordering_a_server_holds_no_transaction(product: Product, watched: list[str]) -> None:
    await product.onboard(product.sign_up())
    assert any(name.startswith("Hostwinds.") for name in watched)


async def test_sending_a_notice_holds_no_transaction(
    product: Product, watched: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    context: ssl.SSLContext
    context, ca_file = server_context(tmp_path_factory.mktemp("tls"), "localhost")
    customer = product.sign_up()
    (user,) = product.rows(
        "INSERT INTO users (tenant_id, email, password_hash, role) VALUES (%s, 'o@a.example', '!', 'owner')"
        " RETURNING user_id", customer.pk,
    )  # fmt: skip
    product.rows("INSERT INTO transactional_emails (tenant_id, user_id, type, payload)"
                 " VALUES (%s, %s, 'submission_restored', '{}'::jsonb || jsonb_build_object('tenant', 'A'))",
                 customer.uuid, user["user_id"])  # fmt: skip
    with submission_server(SmtpServer(context, "CANARY-p")) as server:
        sender = "postmaster@acme.example"
        product.configure(
            NOTICES__SMTP_HOST="localhost", NOTICES__SMTP_PORT=str(server.port), NOTICES__SMTP_USER=sender,
            NOTICES__SMTP_PASSWORD="CANARY-p", NOTICES__SENDER=sender, MAIL__CA_FILE=str(ca_file),
        )  # fmt: skip
        async with resources() as r:
            await swept(r)
            assert watched == ["Submission.send"]
