"""A connection as the configuration has it: to named or discovered hosts, with a login by user or by token."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from contrib_watch.adapters.connection import Access, Connection
from contrib_watch.adapters.endpoint import Endpoint, own_ipv4, trusting
from contrib_watch.adapters.trace import Trace
from contrib_watch.ads.session import Limits, Login, Session
from contrib_watch.ads.tokens import Account, Host
from contrib_watch.config import Ads
from contrib_watch.config.secrets import with_secret

if TYPE_CHECKING:
    from contrib_watch.adapters.tokens import TokenLogin

HTTPS_PORT = 443


def link(
    ads: Ads, cloud: Account | None = None, *, trace: Trace | None = None, access: Access | None = None
) -> Connection:
    """A connection that is not started yet.

    ``cloud``: whose tokens to log in with; None: log in as ``ads.user``. ``access``: the account's, where it is in
    use already. Raises ConfigurationError where the account has no secret, or ads.ca_file has no authorities.
    """
    if ads.ca_file is not None:
        trusting(ads.ca_file)
    endpoints = [] if ads.discovered else endpoints_of(ads)
    session = session_of(ads)
    if access is None and cloud is not None:
        access = token_login(ads, cloud)
    return Connection(endpoints, session, connect_timeout_s=ads.connect_timeout_s, trace=trace, access=access)


def token_login(ads: Ads, cloud: Account) -> TokenLogin[Endpoint]:
    """Where a connection gets its tokens, and its endpoints where they are discovered.

    Raises ConfigurationError where the account has no secret.
    """
    from contrib_watch.adapters.tokens import Platform, TokenLogin  # most sites need none of it

    account = with_secret(cloud)
    platform = Platform(account, ca_file=ads.ca_file, proxy=ads.proxy, timeout_s=ads.connect_timeout_s)
    return TokenLogin(platform, (lambda host: endpoint_at(ads, host)) if ads.discovered else None)


def endpoints_of(ads: Ads) -> list[Endpoint]:
    """The configured hosts, in order."""
    split = [host.rsplit(":", 1) for host in ads.hosts]
    return [endpoint_at(ads, Host(name.strip("[]"), int(port))) for name, port in split]


def endpoint_at(ads: Ads, host: Host) -> Endpoint:
    """A host, reached as the configuration says."""
    return Endpoint(host=host.name, port=host.port, tls=ads.tls, ca_file=ads.ca_file, proxy=ads.proxy)


def poster_address(ads: Ads, cloud: Account | None = None) -> str:
    """PostUserInfo's Address: the IPv4 of the configured Position (``10.1.2.3``, ``10.1.2.3/net``), else this
    machine's own as the first host sees it, or discovery; a whole ``ip/net`` would be an Error (seen on LSEG's SDK
    provider)."""
    with suppress(ValueError):
        return str(IPv4Address(ads.position.partition("/")[0]))
    if ads.simulated:
        return "127.0.0.1"
    if cloud is None or not ads.discovered:
        return own_ipv4(endpoints_of(ads)[0])
    asked = urlsplit(cloud.discovery_url)
    return own_ipv4(endpoint_at(ads, Host(asked.hostname or "", asked.port or HTTPS_PORT)))


def session_of(ads: Ads) -> Session:
    """The protocol's state, with the configured login and limits."""
    return Session(
        Login(user=ads.user, app_id=ads.app_id, position=ads.position),
        Limits(window=ads.window, pack=ads.pack, rate_limit=ads.rate_limit, ack_timeout_s=ads.ack_timeout_s),
    )
