"""Whether the settings carry an order to its end."""

from flows.settings import PREFIX, Settings
from flows.vps_terms import missing_for_an_order


def missing_settings(settings: Settings) -> list[str]:
    """The settings without which an order would end half way, by their names in the environment."""
    needed: dict[str, object] = {
        "ssh.worker_networks": settings.ssh.worker_networks,
        "mail.proof_receivers": settings.mail.proof_receivers,
        **certificate_settings(settings),
    }
    missing = missing_for_an_order(settings) + [name for name, value in needed.items() if not value]
    return [PREFIX + name.upper().replace(".", "__") for name in missing]


def certificate_settings(settings: Settings) -> dict[str, object]:
    """What the chosen signer of certificates cannot work without."""
    host = settings.mail_host
    if host.certificate_issuer == "acme":
        return {"mail_host.acme_directory": host.acme_directory}
    return {
        "mail_host.private_ca_cert_file": host.private_ca_cert_file,
        "mail_host.private_ca_key_file": host.private_ca_key_file,
    }
