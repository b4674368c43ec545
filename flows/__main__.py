"""The operator's command line: python -m flows --help."""

from flows.commands.install import prepare_environment

prepare_environment()  # before anything imports Prefect

from typing import Annotated  # noqa: E402  after the line above on purpose

import typer  # noqa: E402  likewise

from flows.acting import claiming  # noqa: E402  likewise
from flows.commands import (  # noqa: E402  likewise
    addresses,
    alerts,
    backup,
    certificates,
    dns_keys,
    doctor,
    install,
    jobs,
    leads,
    listings,
    migrate,
    money,
    onboarding,
    orders,
    people,
    proof,
    readiness,
    return_path,
    secrets_of,
    staff,
    status,
)

EXIT_CODES = (
    "Exit codes: 0 done · 1 failed · 2 usage · 3 waiting, comes back by itself · 4 waiting for an operator · "
    "5 rejected · 6 already running · 7 database, server or provider out of reach"
)

app = typer.Typer(
    help="Provision, prove and keep the mail infrastructure of PenguinMails' tenants.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals may hold a secret
)


@app.callback()
def main(
    context: typer.Context,
    acting_as: Annotated[str, typer.Option("--as", metavar="EMAIL", help="the staff member who acts")] = "",
) -> None:
    """Provision, prove and keep the mail infrastructure of PenguinMails' tenants."""
    context.with_resource(claiming(acting_as))


app.command()(doctor.doctor)
app.add_typer(migrate.app, name="migrate")
app.command()(doctor.database)
app.command()(install.install)
app.command()(onboarding.onboard)
app.command()(status.status)
app.command()(onboarding.retry)
app.command()(onboarding.cancel)
app.add_typer(dns_keys.app, name="dns")
app.command()(readiness.readiness)
app.add_typer(orders.app, name="orders")
app.add_typer(addresses.app, name="addresses")
app.command("return-path")(return_path.return_path)
app.add_typer(proof.app, name="proof")
app.add_typer(secrets_of.app, name="secret")
app.command()(listings.listings)
app.add_typer(listings.app, name="blocklists")
app.add_typer(certificates.app, name="certificates")
app.add_typer(alerts.alerts_app, name="alerts")
app.add_typer(jobs.app, name="jobs")
app.add_typer(alerts.notices_app, name="notices")
app.add_typer(money.payments_app, name="payments")
app.add_typer(people.app, name="people")
app.add_typer(staff.app, name="staff")
app.add_typer(money.subscriptions_app, name="subscriptions")
app.add_typer(leads.app, name="leads")
app.command()(backup.backup)
app.command(name="backups")(backup.backups_list)
app.command()(backup.restore)
app.command()(backup.drill)
app.command()(install.serve)

if __name__ == "__main__":
    app(prog_name="python -m flows")
