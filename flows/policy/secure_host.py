"""A server that is safe from its first minute: who may log in, what is open, who is shut out, what is kept up to date.

Nothing here may lock out the worker: firewall and sshd are armed, the host goes back by itself unless the change is
confirmed from a second connection.
"""

import shlex
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Network

from flows.policy.convergence import Component, Condition, Desired, File, Unit
from flows.policy.host_files import filled, text

PACKAGES = ("nftables", "fail2ban", "python3-systemd", "unattended-upgrades")
MAIL_PORTS = (25, 80, 465, 587, 993)  # 80: HTTP-01 of a certificate authority

SSH_RULES = {  # the words of `sshd -T`, which prints prohibit-password as without-password
    "permitrootlogin": "without-password",
    "passwordauthentication": "no",
    "kbdinteractiveauthentication": "no",
    "permitemptypasswords": "no",
}


@dataclass(frozen=True, slots=True)
class HostSecurity:
    """Who may reach the server, and with which keys. Public keys only."""

    worker_networks: tuple[IPv4Network, ...]
    authorized_keys: tuple[str, ...]  # whole lines; every other key is removed
    ssh_port: int = 22
    ports: tuple[int, ...] = MAIL_PORTS  # TCP, open to everybody

    def __post_init__(self) -> None:
        """Refuse what would lock us out."""
        if not self.worker_networks or not self.authorized_keys:
            raise ValueError("without a worker network and a key nobody could come in again")
        if self.ssh_port in self.ports:
            raise ValueError(f"port {self.ssh_port} is sshd's and is never open to everybody")


def desired(security: HostSecurity) -> Desired:
    """Packages and components of a hardened server, those that could lock us out last but for the watchers."""
    components = (_keys(security), _way_back(), _firewall(security), _sshd(), _root_password())
    return Desired(PACKAGES, (*components, _fail2ban(security), _updates(), _clock()))


def bootstrap_script(public_key: str) -> str:
    """Lets our key in beside whatever is there; run over the one login by password. Safe to repeat."""
    line = shlex.quote(_one_line(public_key))
    return "\n".join(
        (
            "umask 077; mkdir -p /root/.ssh && touch /root/.ssh/authorized_keys || exit 1",
            f"grep -qxF {line} /root/.ssh/authorized_keys && exit 0",
            # A last line without its newline would swallow our key.
            '[ -z "$(tail -c 1 /root/.ssh/authorized_keys)" ] || echo >>/root/.ssh/authorized_keys',
            f"printf '%s\\n' {line} >>/root/.ssh/authorized_keys",
        )
    )


def close_password_script() -> str:
    """Replaces root's password by a random one nobody keeps and locks it; the key stays the only way in."""
    return f"set -e\n{_LOCK}\n{_LOCKED}\n"


# '*' is no hash, so no password fits, and unlike '!' no reader takes it for a locked account that keys cannot open.
_LOCKED = "grep -q '^root:[*]:' /etc/shadow"
_LOCK = "{ printf root:; head -c 48 /dev/urandom | base64 -w 0; echo; } | chpasswd && usermod -p '*' root"


def _one_line(public_key: str) -> str:
    line = public_key.strip()
    if "\n" in line or not line.startswith(("ssh-ed25519 ", "ecdsa-sha2-", "ssh-rsa ", "sk-ssh-ed25519@")):
        raise ValueError("a public key is one line that starts with its algorithm")
    return line


def _keys(security: HostSecurity) -> Component:
    lines = "".join(f"{_one_line(key)}\n" for key in security.authorized_keys)
    return Component("keys", files=(File("/root/.ssh/authorized_keys", lines.encode(), mode="600"),))


def _way_back() -> Component:
    enabled = "systemctl -q is-enabled penguin-revert.service"
    return Component(
        "way-back",
        files=(
            File("/usr/local/sbin/penguin-revert", text("revert.sh").encode(), mode="755"),
            File("/etc/systemd/system/penguin-revert.service", text("penguin-revert.service").encode()),
        ),
        after=(Condition("at-boot", enabled, "systemctl -q enable penguin-revert.service"),),
    )


def _firewall(security: HostSecurity) -> Component:
    values = {
        "WORKERS": ", ".join(map(str, sorted(security.worker_networks))),
        "SSH_PORT": str(security.ssh_port),
        "PORTS": ", ".join(map(str, sorted(security.ports))),
    }
    stamp = f"rules_{sha256(filled('nftables.conf', values | {'STAMP': 'rules'}).encode()).hexdigest()[:12]}"
    rules = filled("nftables.conf", values | {"STAMP": stamp})
    return Component(
        "firewall",
        files=(File("/etc/nftables.conf", rules.encode(), mode="755"),),
        check="nft -c -f /etc/nftables.conf",
        settle="systemctl reload nftables",
        units=(Unit("nftables"),),
        # A chain is named after the rules: so the kernel can be asked whether it holds what the file says.
        after=(Condition("loaded", f"nft list chain inet penguin {stamp}", "nft -f /etc/nftables.conf"),),
        armed=True,
    )


def _sshd() -> Component:
    include = "Include /etc/ssh/sshd_config.d/*.conf"
    effective = "settings=$(sshd -T -C user=root,host=x,addr=192.0.2.1)" + "".join(
        f" && printf '%s\\n' \"$settings\" | grep -qx '{word} {value}'" for word, value in SSH_RULES.items()
    )
    return Component(
        "sshd",
        before=(
            Condition(
                "drop-ins-first",
                f"grep -Ev '^[[:space:]]*(#|$)' /etc/ssh/sshd_config | head -n 1 | grep -qxF '{include}'",
                f"keep /etc/ssh/sshd_config && sed -i '1i {include}' /etc/ssh/sshd_config",
                settles=True,
            ),
        ),
        files=(File("/etc/ssh/sshd_config.d/00-penguin.conf", text("sshd.conf").encode()),),
        check="sshd -t",
        settle="systemctl reload ssh",
        units=(Unit("ssh"),),
        after=(Condition("keys-only", effective, "false"),),
        armed=True,
    )


def _root_password() -> Component:
    return Component("root-password", before=(Condition("closed", _LOCKED, _LOCK),))


def _fail2ban(security: HostSecurity) -> Component:
    jails = filled("fail2ban.local", {"SPARED": " ".join(map(str, sorted(security.worker_networks)))})
    return Component(
        "fail2ban",
        files=(
            File("/etc/fail2ban/jail.d/penguin.local", jails.encode()),
            # Debian's Postfix logs as an instance; the shipped filter listens to the meta unit, which never speaks.
            File("/etc/fail2ban/filter.d/postfix.local", b"[Init]\njournalmatch = _SYSTEMD_UNIT=postfix@-.service\n"),
        ),
        check="fail2ban-client -t",
        settle="fail2ban-client reload",
        units=(Unit("fail2ban"),),
    )


def _updates() -> Component:
    periodic = _apt({"APT::Periodic::Update-Package-Lists": "1", "APT::Periodic::Unattended-Upgrade": "1"})
    policy = _apt(
        {
            "Unattended-Upgrade::Automatic-Reboot": "false",
            "Unattended-Upgrade::MinimalSteps": "true",
            "Dpkg::Options::": "--force-confold",
        }
    )
    return Component(
        "updates",
        files=(
            File("/etc/apt/apt.conf.d/20auto-upgrades", periodic.encode()),
            File("/etc/apt/apt.conf.d/52penguin", policy.encode()),
        ),
        check="apt-config dump",
        units=(Unit("apt-daily.timer"), Unit("apt-daily-upgrade.timer")),
    )


def _apt(settings: dict[str, str]) -> str:
    return "".join(f'{name} "{value}";\n' for name, value in settings.items())


def _clock() -> Component:
    """DKIM signatures carry times. A container shares its machine's clock and can only trust it."""
    kept = "systemd-detect-virt -cq || systemctl -q is-active systemd-timesyncd chrony chronyd ntpsec ntp"
    cure = "packages systemd-timesyncd >/dev/null && systemctl -q enable --now systemd-timesyncd"
    return Component("clock", before=(Condition("synchronised", kept, cure),))
