"""Every command in the order of `python -m flows --help`, in the words of its own help: a test compares them."""

from collections.abc import Mapping

from flows.commands.lazy import Entry

COMMANDS: Mapping[str, Entry] = {
    "doctor": (
        "flows.commands.doctor:doctor",
        "Look at settings, databases, resolver, provider and Prefect. Exit 0 only when nothing fails.",
    ),
    "database": (
        "flows.commands.doctor:database",
        'Print how to reach the embedded database (psql "$(python -m flows database)"); a DSN of your own you know.',
    ),
    "install": (
        "flows.commands.install:install",
        "Send deployments and automations to the Prefect server at PREFECT_API_URL. Safe to repeat.",
    ),
    "onboard": (
        "flows.commands.onboarding:onboard",
        "Give a tenant everything that was bought. Safe to repeat: a finished tenant is only looked at.",
    ),
    "status": (
        "flows.commands.status:status",
        "Where a tenant's run stands: steps, what is waited for, and the line that ends the wait.",
    ),
    "retry": (
        "flows.commands.onboarding:retry",
        "Start a failed or waiting run again; it goes on where it stood, and nothing is bought twice.",
    ),
    "cancel": (
        "flows.commands.onboarding:cancel",
        "Ask a run to stop before its next step. What it made stays, and stays paid.",
    ),
    "readiness": (
        "flows.commands.readiness:readiness",
        "Hold a domain against the dated rules of Google, Yahoo and Microsoft; exit code 0 yes, 1 no, 3 not proven.",
    ),
    "return-path": (
        "flows.commands.return_path:return_path",
        "Print the signed return path of one message, good for its bounces until it expires.",
    ),
    "listings": (
        "flows.commands.listings:listings",
        "Ask every list now about an address or a domain; exit code 0 clean, 1 listed, 7 not known.",
    ),
    "backup": (
        "flows.commands.backup:backup",
        "Dump, seal, store and read back now. It counts once a restore has proven it: python -m flows drill.",
    ),
    "backups": (
        "flows.commands.backup:backups_list",
        "Dumps, the newest first: what became of each, and whether a restore has proven it.",
    ),
    "restore": (
        "flows.commands.backup:restore",
        "Restore a dump, proven on the way. A database that is there is never overwritten: insist, and it is renamed.",
    ),
    "drill": (
        "flows.commands.backup:drill",
        "Dump, store, read back, restore into a scratch database, compare everything, and say how long each part took.",
    ),
    "serve": (
        "flows.commands.install:serve",
        "Everything on one machine: database, Prefect server, a process that runs the deployments. Ctrl-C ends all.",
    ),
    "migrate": ("flows.commands.migrate:app", "Bring the databases to the schema of sql/migrations, or look at them."),
    "dns": ("flows.commands.dns_keys:app", "Records of a domain: to publish by hand, or by us, and undone."),
    "orders": ("flows.commands.orders:app", "Purchases at the VPS provider: what is open, and an operator's decision."),
    "addresses": ("flows.commands.addresses:app", "Addresses before they are used: screened against blocklists."),
    "proof": (
        "flows.commands.proof:app",
        "Proof of delivery as one file: raw messages, DNS answers, certificates, verdicts. `proof TENANT` writes it.",
    ),
    "secret": ("flows.commands.secrets_of:app", "Credentials: they enter sealed and are never shown again."),
    "blocklists": ("flows.commands.listings:app", "Blocklists: which are asked, how they stand, what waits for them."),
    "certificates": ("flows.commands.certificates:app", "Certificates of the hosts: when they end, and their renewal."),
    "alerts": ("flows.commands.alerts:alerts_app", "What is wrong and open: take it, or say that it is over."),
    "jobs": ("flows.commands.jobs:app", "The job queue: what waits, what died and why, and this machine's worker."),
    "notices": ("flows.commands.alerts:notices_app", "The platform's mail to its people: what went, what did not."),
    "payments": ("flows.commands.money:payments_app", "What was paid, and a word of the payment provider by hand."),
    "people": ("flows.commands.people:app", "The people of a tenant: invite, change what they may do, deactivate."),
    "staff": ("flows.commands.staff:app", "The platform's operators: who they are and what their roles permit."),
    "subscriptions": ("flows.commands.money:subscriptions_app", "Where subscriptions stand, and what follows from it."),
    "leads": ("flows.commands.leads:app", "A tenant's leads."),
    "templates": ("flows.commands.templates:app", "Templates of a tenant's campaigns."),
    "campaigns": (
        "flows.commands.campaigns:app",
        "A tenant's campaigns: drafted, given leads, moved from state to state.",
    ),
    "suppressions": ("flows.commands.suppressions:app", "Addresses and domains that a tenant must not write to."),
}
