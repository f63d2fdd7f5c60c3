"""The built wheel works away from the checkout: its demo, its data, its commands."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-cache-dir")

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None, reason="hatchling, which builds the wheel, is not installed"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    offline = ("--no-deps", "--no-build-isolation", "--no-index")
    done = subprocess.run(
        [*PIP, "wheel", *offline, "--wheel-dir", str(folder), str(ROOT)], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_it_holds_what_the_program_reads(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for data in (
        "contrib_watch/data/RDMFieldDictionary",
        "contrib_watch/data/enumtype.def",
        "contrib_watch/adapters/report.html.j2",
        "contrib_watch/sample_data/config.toml",
    ):
        assert data in names
    samples = {
        f"contrib_watch/sample_data/{p.relative_to(ROOT / 'sample_data')}" for p in ROOT.glob("sample_data/*/*.*")
    }
    assert len(samples) == 6
    assert samples <= names
    assert not any(name.startswith("tests/") for name in names)


def test_the_demo_runs_from_it(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "installed"
    done = subprocess.run(
        [*PIP, "install", "--no-deps", "--no-index", "--no-compile", "--target", str(place), str(wheel)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    environ = os.environ | {"PYTHONPATH": str(place)}
    where = [sys.executable, "-c", "import contrib_watch; print(contrib_watch.__file__)"]
    told = subprocess.run(where, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
    assert told.stdout.strip() == str(place / "contrib_watch" / "__init__.py")
    program = place / "bin" / "contrib-watch"
    demo = subprocess.run(
        [program, "demo"],
        cwd=tmp_path,
        env=environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "6 drops: 95 rows acknowledged, 1 nakked, 3 rejected" in demo.stdout
    assert len(list(tmp_path.glob("contrib-watch-demo-*/inbox/*/*.ack.html"))) == 6
