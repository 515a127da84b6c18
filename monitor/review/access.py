"""Access: who a visitor is and what they may do, in one of three ways."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from itsdangerous import BadSignature, TimestampSigner
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser
from starlette.requests import HTTPConnection

from monitor.config.sections import LOOPBACK
from monitor.errors import ConfigError

READ, REVIEW = "read", "review"
COOKIE = "latentwatch_review"
SESSION_S = 12 * 3_600
_SHORTEST_TOKEN = 20
_NAME = re.compile(r"[\w.@+-]{1,100}")
_Found = tuple[AuthCredentials, SimpleUser] | None


class Access(Protocol):
    """Finds out who asks."""

    @property
    def has_login(self) -> bool:
        """Whether there is a page to log in on."""

    def visitor(self, connection: HTTPConnection) -> _Found:
        """The name of the visitor and what they may do; None if nobody knows them.

        Raises AuthenticationError if the request must not be answered at all.
        """


class Backend(AuthenticationBackend):
    """Starlette's way to ask."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def authenticate(self, conn: HTTPConnection) -> _Found:
        return self._access.visitor(conn)


class OpenAccess:
    """Everybody on this machine may review, under one name. Only for a loopback address."""

    has_login = False

    def __init__(self, name: str = "local") -> None:
        self._name = name

    def visitor(self, connection: HTTPConnection) -> _Found:
        # a page elsewhere may point its own name at this machine, and its browser would then send that name
        if connection.url.hostname not in LOOPBACK:
            raise AuthenticationError("this page answers only to localhost and 127.0.0.1")
        return _known(self._name, REVIEW)


@dataclass(frozen=True)
class Account:
    """One line of the token file."""

    name: str
    role: str
    token: str


class TokenAccess:
    """A file with a line `NAME ROLE TOKEN` for each reviewer; read for every request, so changes work at once.

    A token comes as a bearer token, or once on the login page; then a signed cookie stands for it for 12 hours. The
    cookie is signed with the token, so it is of no use once the token has gone from the file.
    """

    has_login = True

    def __init__(self, file: Path) -> None:
        """Raises ConfigError if the file cannot be used."""
        self._file = file
        self._accounts()

    def visitor(self, connection: HTTPConnection) -> _Found:
        try:
            accounts = self._accounts()
        except ConfigError as e:
            raise AuthenticationError("the token file cannot be used; the log says why") from e
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            account = _with_token(accounts, token.strip())
        else:
            account = _of_cookie(accounts, connection.cookies.get(COOKIE, ""))
        return None if account is None else _known(account.name, account.role)

    def cookie(self, token: str) -> str | None:
        """The cookie that stands for a token; None if nobody has that token."""
        account = _with_token(self._accounts(), token)
        return None if account is None else _signer(account).sign(account.name).decode()

    def _accounts(self) -> list[Account]:
        try:
            lines = self._file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as e:
            raise ConfigError(f"--token-file: {self._file}: {getattr(e, 'strerror', None) or 'not UTF-8'}") from None
        problems: list[str] = []
        accounts: list[Account] = []
        for number, line in enumerate(lines, start=1):
            parts = line.split()
            if not parts or parts[0].startswith("#"):
                continue
            problem = _problem(parts, {a.name for a in accounts})
            if problem:
                problems.append(f"--token-file: {self._file}:{number}: {problem}")
            else:
                accounts.append(Account(*parts))
        if not accounts and not problems:
            problems.append(f"--token-file: {self._file}: no line of the form NAME ROLE TOKEN")
        if problems:
            raise ConfigError(problems)
        return accounts


@dataclass(frozen=True)
class ProxyAccess:
    """A reverse proxy in front names the visitor in a header, and optionally their role in another.

    Requests that do not come from one of `networks` are refused, because anybody could write the headers.
    """

    user_header: str
    role_header: str | None
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    has_login = False

    def visitor(self, connection: HTTPConnection) -> _Found:
        caller = connection.client.host if connection.client is not None else ""
        try:
            allowed = any(ipaddress.ip_address(caller) in network for network in self.networks)
        except ValueError:
            allowed = False
        if not allowed:
            raise AuthenticationError("only the reverse proxy may ask")
        # of two, one may be what the visitor sent and the proxy did not remove
        names = connection.headers.getlist(self.user_header)
        name = names[0].strip() if len(names) == 1 else ""
        if not _NAME.fullmatch(name):
            return None
        if self.role_header is None:
            return _known(name, REVIEW)
        said = connection.headers.getlist(self.role_header)
        roles = {role.strip().lower() for role in said[0].split(",")} if len(said) == 1 else set()
        return _known(name, REVIEW if REVIEW in roles else READ) if roles & {READ, REVIEW} else None


def proxy_access(user_header: str, role_header: str | None, proxies: list[str]) -> ProxyAccess:
    """Access through a reverse proxy in one of the networks `proxies`. Raises ConfigError."""
    problems, networks = [], []
    for proxy in proxies or ["127.0.0.1", "::1"]:
        try:
            networks.append(ipaddress.ip_network(proxy))
        except ValueError:
            problems.append(f"--proxy: {proxy}: expected an address such as 10.0.0.7, or a network such as 10.0.0.0/24")
    if problems:
        raise ConfigError(problems)
    return ProxyAccess(user_header, role_header, tuple(networks))


def _known(name: str, role: str) -> _Found:
    return AuthCredentials([READ, REVIEW] if role == REVIEW else [READ]), SimpleUser(name)


def _problem(parts: list[str], names: set[str]) -> str | None:
    if len(parts) != 3:
        return "expected NAME ROLE TOKEN"
    name, role, token = parts
    if not _NAME.fullmatch(name):
        return f"{name}: a name has letters, digits and . _ - @ + only, 100 at most"
    if name in names:
        return f"{name}: listed twice"
    if role not in (READ, REVIEW):
        return f"{role}: a role is {READ} or {REVIEW}"
    if len(token) < _SHORTEST_TOKEN:
        return f"the token has fewer than {_SHORTEST_TOKEN} characters; make one with: openssl rand -hex 24"
    return None


def _with_token(accounts: list[Account], token: str) -> Account | None:
    given = hashlib.sha256(token.encode()).digest()
    # all are compared, so that the time says nothing
    found = [a for a in accounts if hmac.compare_digest(given, hashlib.sha256(a.token.encode()).digest())]
    return found[0] if found else None


def _of_cookie(accounts: list[Account], cookie: str) -> Account | None:
    for account in accounts:
        try:
            name = _signer(account).unsign(cookie, max_age=SESSION_S)
        except BadSignature:
            continue
        if name == account.name.encode():
            return account
    return None


def _signer(account: Account) -> TimestampSigner:
    return TimestampSigner(f"{account.role} {account.token}", salt="latentwatch review cookie")
