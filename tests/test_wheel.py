"""The wheel: built without a network, installed beside its dependencies; nothing else of the checkout is in reach."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.benchmarks.gateways import ROOT

_BUILD = "import sys, hatchling.build as build; print(build.build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    built = subprocess.run(
        [sys.executable, "-c", _BUILD, str(folder)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return folder / built.stdout.split()[-1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, in an environment that sees our dependencies, but not the checkout that is installed beside them."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    into = folder / "env" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True)
    (into / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "env" / "bin" / "batchrunner"


def run_bare(command: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [str(command), *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )


@pytest.mark.slow
def test_the_wheel_works_with_nothing_else_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = "import batchrunner; print(batchrunner.__file__)"
    found = run_bare(installed.with_name("python"), "-c", where, folder=tmp_path).stdout
    assert Path(found.strip()).is_relative_to(installed.parents[1])
    rows = "".join(f'{{"prompt": "Question {number}"}}\n' for number in range(20))
    (tmp_path / "in.jsonl").write_text(rows)
    run_bare(installed, "run", "in.jsonl", "--simulate", "-o", "out.jsonl", folder=tmp_path)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 20
    run_bare(installed, "report", "out.jsonl", folder=tmp_path)


def test_the_wheel_has_types_licence_and_nothing_but_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [archive.read(name).decode() for name in names if name.endswith("METADATA")]
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"batchrunner"}
    assert "batchrunner/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    lines = metadata.splitlines()
    assert "License-Expression: MIT" in lines
    assert "Requires-Python: >=3.11" in lines
    assert {"s3", "gcs", "hf"} <= {line.split(": ")[1] for line in lines if line.startswith("Provides-Extra")}
    assert "Typing :: Typed" in metadata
