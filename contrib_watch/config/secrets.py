"""Secrets come from the environment, from a file that it names, or from the operating system's keyring.

The environment is read with the configuration. The keyring may ask a person to unlock it, so it is asked only when a
login needs the secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from contrib_watch.ads.tokens import Account, Grant
from contrib_watch.errors import ConfigurationError

CLOUD_SECRETS = {
    Grant.PASSWORD: "CONTRIB_WATCH_CLOUD_PASSWORD",
    Grant.CLIENT_CREDENTIALS: "CONTRIB_WATCH_CLOUD_CLIENT_SECRET",
    Grant.JWT: "CONTRIB_WATCH_CLOUD_JWK",
}
"""The environment variable with the secret of each grant; the same name stands for it in the keyring."""
KEYRING_SERVICE = "contrib_watch"


def from_environment(environ: Mapping[str, str], name: str) -> str | None:
    """The secret in the variable ``name``, or in the file that ``name``_FILE names; None where neither is set.

    Raises ConfigurationError where the file cannot be read, or the secret is no UTF-8.
    """
    if name in environ:
        return _encodable(environ[name], name)
    if f"{name}_FILE" not in environ:
        return None
    path = Path(environ[f"{name}_FILE"])
    hint = "Name the right file, or allow reading it"
    try:
        return path.read_text(encoding="utf-8-sig").rstrip("\r\n")
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", where=str(path), hint=hint) from error
    except UnicodeDecodeError:  # not "from": the error holds the text
        raise ConfigurationError("is not UTF-8", where=str(path), hint="Save the file as UTF-8") from None


def with_secret(account: Account) -> Account:
    """The account with its secret, from the keyring where the environment had none.

    Raises ConfigurationError where there is none.
    """
    if account.secret:
        return account
    name = CLOUD_SECRETS[account.grant]
    secret = _from_keyring(name)
    if not secret:
        hint = f"Set {name} or {name}_FILE in the environment, or run: keyring set {KEYRING_SERVICE} {name}"
        raise ConfigurationError(f'grant = "{account.grant}" needs a secret', where="cloud.grant", hint=hint)
    return replace(account, secret=secret)


def _from_keyring(name: str) -> str | None:
    if find_spec("keyring") is None:  # the extra is not installed
        return None
    import keyring
    from keyring.errors import KeyringError, NoKeyringError

    try:
        secret: str | None = keyring.get_password(KEYRING_SERVICE, name)
    except NoKeyringError:
        return None
    except KeyringError as error:
        hint = "Unlock it, or put the secret into the environment"
        raise ConfigurationError(f"the keyring gives no secret: {error}", where=name, hint=hint) from error
    return None if secret is None else _encodable(secret, name)


def _encodable(secret: str, name: str) -> str:
    """The secret; raises ConfigurationError, without it, where it holds bytes that are no text (as surrogates)."""
    try:
        secret.encode()
    except UnicodeEncodeError:  # not "from": the error holds the secret
        raise ConfigurationError("is not UTF-8", where=name, hint="Set it anew, as UTF-8") from None
    return secret
