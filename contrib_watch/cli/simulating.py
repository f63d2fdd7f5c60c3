"""``simulate``: the simulated ADS alone, or (``--cloud``) behind a simulated platform."""

from __future__ import annotations

import signal
import tempfile
import threading
import tomllib
from pathlib import Path
from typing import Any

import click

from contrib_watch.core.fields import Dictionary
from contrib_watch.errors import ConfigurationError
from contrib_watch.simulator.core import SimulatedAds
from contrib_watch.simulator.faults import FaultScript
from contrib_watch.simulator.server import SimulatedServer


def simulate(host: str, port: int, faults: Path | None, dictionary: Dictionary) -> None:
    """Serve the simulated ADS until interrupted."""
    ads = SimulatedAds(dictionary, _fault_script(faults, _script(faults)))
    ended = _ended()
    with SimulatedServer(ads, host=host, port=port) as server:
        click.echo(f"simulated ADS at {server.url} (subprotocol tr_json2); Ctrl-C ends it", err=True)
        click.echo('to post to it, set ads.target = "trial": then its Acks never count for a real ADS', err=True)
        ended.wait()
    click.echo("stopped", err=True)


def simulate_cloud(port: int, faults: Path | None, dictionary: Dictionary) -> None:
    """Serve the simulated platform on 127.0.0.1 until interrupted; print the configuration that leads to it."""
    from contrib_watch.cli.cloud import configuration_for, secrets_for, simulated_platform
    from contrib_watch.simulator.platform import PlatformScript

    told = _script(faults)
    script = PlatformScript.from_dict(told.pop("platform", {}))
    ads = SimulatedAds(dictionary, _fault_script(faults, told))
    ended = _ended()
    with (
        tempfile.TemporaryDirectory(prefix="contrib-watch-platform-") as folder,
        simulated_platform(ads, Path(folder), script=script, port=port) as (server, ca_file),
    ):
        of_ads, cloud = configuration_for(server, ca_file)
        keys = "".join(f"{key} = {value}\n" for key, value in of_ads.items())
        variables = "".join(f"# {name}={value}\n" for name, value in secrets_for(server).items())
        click.echo(f"{variables}\n[ads]\n{keys}\n{cloud}")
        click.echo(f"simulated platform at {server.url}; Ctrl-C ends it", err=True)
        ended.wait()
    click.echo("stopped", err=True)


def _ended() -> threading.Event:
    """Set when a signal says stop."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    return ended


def _script(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the fault script is no TOML: {error}", where=str(path)) from error


def _fault_script(path: Path | None, script: dict[str, Any]) -> FaultScript:
    try:
        return FaultScript.from_dict(script)
    except ConfigurationError as error:
        raise ConfigurationError(error.what, where=str(path), hint=error.hint) from error
