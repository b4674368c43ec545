"""Names, addresses and the resolver of a mail host."""

from flows.policy.convergence import Component, Condition, File, Unit
from flows.policy.host_files import filled, text
from flows.policy.mail_host.nouns import MailHost


def names(host: MailHost) -> Component:
    """The host's own name, in every place that tells it."""
    short = host.hostname.split(".", 1)[0]
    table = f"127.0.0.1 localhost\n{host.main.ip} {host.hostname} {short}\n::1 localhost ip6-localhost ip6-loopback\n"
    return Component(
        "names",
        files=(
            File("/etc/hostname", f"{host.hostname}\n".encode()),
            File("/etc/mailname", f"{host.hostname}\n".encode()),
            File("/etc/hosts", table.encode()),
        ),
        after=(Condition("hostname", f'[ "$(hostname)" = {host.hostname} ]', f"hostname {host.hostname}"),),
    )


def addresses(host: MailHost) -> Component:
    """Addresses beyond the first as /32, now and after a reboot."""
    listed = "".join(f"{address.ip}\n" for address in host.addresses)
    return Component(
        "addresses",
        files=(
            File("/usr/local/sbin/penguin-addresses", text("addresses.sh").encode(), mode="755"),
            File("/etc/systemd/system/penguin-addresses.service", text("penguin-addresses.service").encode()),
            File("/etc/penguin/addresses", listed.encode()),
        ),
        check="sh -n /usr/local/sbin/penguin-addresses",
        settle="/usr/local/sbin/penguin-addresses",
        units=(Unit("penguin-addresses.service"),),
        after=(Condition("present", "/usr/local/sbin/penguin-addresses check", "/usr/local/sbin/penguin-addresses"),),
    )


def resolver(host: MailHost) -> Component:
    """An own resolver on loopback: blocklists and DNSSEC answer only to one's own."""
    forwarders = host.resolver.forwarders
    if forwarders:  # they validate, or serve a world without signed roots
        server = '    module-config: "iterator"\n    unblock-lan-zones: yes'
        forward = "\n".join(("forward-zone:", '    name: "."', *(f"    forward-addr: {ip}" for ip in forwarders)))
    else:
        server = '    module-config: "validator iterator"\n    trust-anchor-file: "/usr/share/dns/root.key"'
        forward = ""
    settings = filled("unbound.conf", {"SERVER": server, "FORWARD": forward})
    return Component(
        "resolver",
        files=(File("/etc/unbound/unbound.conf", settings.encode(), restart=True),),
        check="unbound-checkconf",
        ports=("127.0.0.1:53",),
        settle="systemctl reload unbound",
        units=(Unit("unbound"),),
    )


def resolver_in_use() -> Component:
    """Everything on the host asks the own resolver, once it runs; a DHCP client leaves the file alone."""
    return Component(
        "resolver-in-use",
        files=(
            File("/etc/resolv.conf", b"nameserver 127.0.0.1\noptions edns0 trust-ad timeout:3 attempts:2\n"),
            File("/etc/dhcp/dhclient-enter-hooks.d/penguin", b"make_resolv_conf() { :; }\n", mode="755"),
        ),
        check="unbound-control status",
    )


def mail_log() -> Component:
    """Postfix's log with exact times in a file of its own: delivery events are read from it."""
    return Component(
        "mail-log",
        files=(File("/etc/rsyslog.d/30-penguin.conf", text("rsyslog.conf").encode(), restart=True),),
        check="rsyslogd -N1",
        units=(Unit("rsyslog"),),
    )
