"""Logins by token in config.toml, and where their secrets come from."""

from __future__ import annotations

from pathlib import Path

import pytest
from written_config import CLOUD, MINIMAL, problems, with_keys, written

from contrib_watch.config.secrets import with_secret
from contrib_watch.errors import ConfigurationError


def test_a_login_by_token_is_over_tls_and_needs_no_user(tmp_path: Path) -> None:
    settings = written(tmp_path, MINIMAL.replace('"simulated"', '"ads1:443"').replace('user = "analyst"', "") + CLOUD)
    assert settings.ads.tls
    assert settings.ads.target == "cloud"
    assert settings.cloud is not None
    assert settings.cloud.token_url.endswith("/v2/token")


@pytest.mark.parametrize(
    ("ads", "cloud", "problem"),
    [
        ('hosts = ["simulated"]', CLOUD, "cloud must be left out: the simulated ADS in this process takes no tokens"),
        ('hosts = ["discover"]', "", 'ads.hosts may be ["discover"] only with a table [cloud]'),
        ('hosts = ["discover", "ads1:1"]', CLOUD, 'ads.hosts must be ["discover"] alone'),
        ('hosts = ["discover"]', CLOUD, 'cloud.region is required with hosts = ["discover"]'),
        ('hosts = ["ads1:1"]', CLOUD + 'username = "u"', 'cloud.username means nothing with grant = "client_cred'),
        (
            'hosts = ["ads1:1"]',
            CLOUD.replace("client_credentials", "password"),
            "cloud.username is required with grant",
        ),
        ('hosts = ["ads1:1"]', '[cloud]\ngrant = "jwt"', "cloud.client_id is required"),
        (
            'hosts = ["ads1:1"]',
            CLOUD + 'token_url = "http://x"',
            "cloud.token_url must be an address that begins with",
        ),
        ('hosts = ["ads1:1"]', CLOUD + 'discovery_url = "https://a:b@x"', "cloud.discovery_url must not hold a user"),
        ('hosts = ["ads1:1"]', CLOUD + 'password = "x"', "cloud.password is not a known key"),
        ('hosts = ["ads1:1"]', CLOUD.replace("client_credentials", "v1"), "cloud.grant must be 'password'"),
    ],
)
def test_problems_of_logins_by_token(ads: str, cloud: str, problem: str, tmp_path: Path) -> None:
    (found,) = problems(tmp_path, with_keys(ads=ads, sections=cloud))
    assert problem in found


@pytest.mark.parametrize(
    ("grant", "name"),
    [("password", "PASSWORD"), ("client_credentials", "CLIENT_SECRET"), ("jwt", "JWK")],
)
def test_the_secret_comes_from_the_environment_and_is_not_shown(grant: str, name: str, tmp_path: Path) -> None:
    user = 'username = "u"' if grant == "password" else ""
    text = with_keys(ads='hosts = ["ads1:1"]', sections=CLOUD.replace("client_credentials", grant) + user)
    (tmp_path / "secret").write_text("s3cret\n")
    for environ in ({name: "s3cret"}, {f"{name}_FILE": str(tmp_path / "secret")}):
        settings = written(tmp_path, text, {f"CONTRIB_WATCH_CLOUD_{key}": value for key, value in environ.items()})
        assert settings.cloud is not None
        assert with_secret(settings.cloud).secret == "s3cret"
        assert "s3cret" not in repr(settings)
    with pytest.raises(ConfigurationError, match="nowhere: cannot be read"):
        written(tmp_path, text, {f"CONTRIB_WATCH_CLOUD_{name}_FILE": "nowhere"})


def test_a_secret_in_the_keyring(tmp_path: Path) -> None:
    keyring = pytest.importorskip("keyring")
    before = keyring.get_keyring()  # before there is another that could be the best

    class Backend(keyring.backend.KeyringBackend):  # type: ignore[misc]
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            return {("contrib_watch", "CONTRIB_WATCH_CLOUD_CLIENT_SECRET"): "s3cret"}.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            raise AssertionError("nothing is to be written")

    settings = written(tmp_path, with_keys(ads='hosts = ["ads1:1"]', sections=CLOUD))
    keyring.set_keyring(Backend())
    try:
        assert settings.cloud is not None
        assert with_secret(settings.cloud).secret == "s3cret"
    finally:
        keyring.set_keyring(before)


def test_a_secret_that_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")  # nobody is asked
    settings = written(tmp_path, with_keys(ads='hosts = ["ads1:1"]', sections=CLOUD))
    assert settings.cloud is not None  # commands that do not log in need no secret
    with pytest.raises(ConfigurationError, match="Set CONTRIB_WATCH_CLOUD_CLIENT_SECRET or"):
        with_secret(settings.cloud)


def test_a_secret_that_is_no_text_is_refused_and_not_shown(tmp_path: Path) -> None:
    text = with_keys(ads='hosts = ["ads1:1"]', sections=CLOUD)
    name = "CONTRIB_WATCH_CLOUD_CLIENT_SECRET"
    with pytest.raises(ConfigurationError, match=f"{name}: is not UTF-8") as caught:
        written(tmp_path, text, {name: "caf\udce9-s3cret"})
    assert "s3cret" not in repr(caught.value)
    assert caught.value.__cause__ is None
