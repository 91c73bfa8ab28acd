"""What the project is made of: locked by hash, declared, licensed, few; looked at without any network."""

import ast
import re
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from test_rooms import HOUSE, modules_of

TOP = HOUSE.parent
MOST = 12
PIN = re.compile(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.+!]+)( ; .+)?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
UNPACKERS = {"pickle", "marshal", "shelve", "joblib", "dill", "cloudpickle"}
BROUGHT_BY_EXTRAS = {"fsspec": "s3fs"}


def project_file() -> dict[str, Any]:
    return tomllib.loads((TOP / "pyproject.toml").read_text())


def declared() -> list[Requirement]:
    """Direct dependencies at run time."""
    return [Requirement(text) for text in project_file()["project"]["dependencies"]]


def names_of(requirements: list[Requirement]) -> set[str]:
    return {str(canonicalize_name(one.name)) for one in requirements}


def locked() -> dict[str, str]:
    """Version by name, of every entry of the lock; one that is no pin with hashes fails."""
    found = {}
    text = re.sub(r"^ *#.*\n", "", (TOP / "requirements.lock").read_text(), flags=re.MULTILINE)
    for entry in text.replace("\\\n", " ").splitlines():
        pin, *hashes = re.split(r"\s+(?=--hash)", entry.strip())
        parts = PIN.fullmatch(pin)
        assert parts, f"this is no pin: {pin}"
        assert hashes, f"{pin} has no hash"
        assert all(map(HASH.fullmatch, hashes)), pin
        found[str(canonicalize_name(parts[1]))] = parts[2]
    return found


def at_run_time() -> set[str]:
    """Direct dependencies and all that they need, as installed here."""
    found: set[str] = set()
    left = declared()
    while left:
        one = left.pop()
        name = str(canonicalize_name(one.name))
        if name not in found and (one.marker is None or one.marker.evaluate({"extra": ""})):
            found.add(name)
            left += map(Requirement, distribution(name).requires or ())
    return found


def imported() -> set[str]:
    """Modules from elsewhere that the product imports anywhere, by the first part of their names."""
    modules = {module.split(".")[0] for path in HOUSE.rglob("*.py") for module in modules_of(path)}
    return modules - set(sys.stdlib_module_names) - {"batchrunner"}


def bringing(module: str) -> set[str]:
    """The packages that bring a module."""
    return {str(canonicalize_name(name)) for name in packages_distributions().get(module, [])}


def test_every_version_is_locked_with_its_hashes_and_fits_what_is_declared() -> None:
    versions = locked()
    for one in [*declared(), *map(Requirement, project_file()["dependency-groups"]["dev"])]:
        assert one.specifier.contains(Version(versions[canonicalize_name(one.name)])), one
    for name in at_run_time():
        assert distribution(name).version == versions[name], name


def test_direct_dependencies_are_few() -> None:
    assert len(declared()) <= MOST


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    extras = project_file()["project"]["optional-dependencies"].values()
    names = names_of([*declared(), *(Requirement(text) for extra in extras for text in extra)])
    undeclared = {one for one in imported() if not names & (bringing(one) | {BROUGHT_BY_EXTRAS.get(one, "")})}
    assert undeclared == set()
    unused = names_of(declared()).difference(*map(bringing, imported()))
    assert unused == {"tzdata"}  # data alone, for zoneinfo


def test_nothing_but_the_project_itself_is_run_when_python_starts() -> None:
    place = next(Path(place) for place in sys.path if place.endswith("site-packages"))
    hooks = {path.name for path in place.glob("*.pth") if "batchrunner" not in path.name}
    assert hooks <= {"distutils-precedence.pth"}  # of the setuptools that venv brings
    assert not {"sitecustomize.py", "usercustomize.py"} & {path.name for path in place.iterdir()}


def test_nothing_is_unpacked_or_evaluated_that_could_run() -> None:
    found = []
    for path in HOUSE.rglob("*.py"):
        found += [(path.name, name) for name in modules_of(path) if name.split(".")[0] in UNPACKERS]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                found += [(path.name, node.func.id)] * (node.func.id in {"eval", "exec", "__import__"})
    assert found == []


def test_the_readme_lists_every_package_with_its_licence() -> None:
    (table,) = re.findall("<!-- licences -->\n(.*)\n<!-- /licences -->", (TOP / "README.md").read_text(), re.DOTALL)
    listed = {
        name: licence.strip()
        for licence, names in re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE)
        for name in re.findall("`([^`]+)`", names)
    }
    assert at_run_time() <= listed.keys()
    assert all(has_licence(name, listed[name]) for name in at_run_time())


def has_licence(name: str, words: str) -> bool:
    """Whether a package says of itself that these are the words of its licence."""
    about = distribution(name).metadata
    classes = [one for one in about.get_all("Classifier") or [] if one.startswith("License")]
    told = " ".join([about.get("License-Expression") or "", (about.get("License") or "")[:60], *classes])
    return all(word in told for word in words.replace("-", " ").split(" ")[:1])
