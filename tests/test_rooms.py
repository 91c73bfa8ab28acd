"""The house of the README: imports between rooms go down, never up and never sideways on floor 2."""

import ast
from pathlib import Path

import batchrunner

HOUSE = Path(batchrunner.__file__).parent
FLOOR = {
    "records": 1,
    "errors": 1,
    "job": 2,
    "source": 2,
    "chat": 2,
    "limits": 2,
    "transport": 2,
    "store": 2,
    "sink": 2,
    "report": 3,
    "folder": 4,
    "runner": 5,
    "plan": 6,
    "probe": 6,
    "api": 6,
    "viewer": 6,
    "cli": 7,
    "__main__": 8,
}
BESIDE = "simulator"
USED_BY = {"cli"}  # the one room that may start the simulator


def room_of(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def modules_of(path: Path) -> set[str]:
    """The modules that a file imports, by their whole names."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return modules


def imports_of(path: Path) -> set[str]:
    """The rooms that a file imports from."""
    return {name.split(".")[1] for name in modules_of(path) if name.startswith("batchrunner.")}


def violations() -> list[str]:
    found = []
    for path in sorted(HOUSE.rglob("*.py")):
        room = room_of(path)
        for used in sorted(imports_of(path) - {room}):
            if room == BESIDE or (used == BESIDE and room not in USED_BY):
                found.append(f"{path.relative_to(HOUSE)} imports {used}")
            elif used != BESIDE and room != "__init__" and FLOOR[used] >= FLOOR[room]:
                found.append(f"{path.relative_to(HOUSE)} imports {used}, which is not below it")
    return found


def test_imports_between_rooms_go_down_only() -> None:
    assert violations() == []


def test_every_file_stands_in_a_room_of_the_picture() -> None:
    rooms = {room_of(path) for path in HOUSE.rglob("*.py")} - {"__init__"}
    assert rooms == {*FLOOR, BESIDE}


def files_that_import(package: str) -> set[Path]:
    """The files that import it."""
    modules = ((path, modules_of(path)) for path in HOUSE.rglob("*.py"))
    return {path for path, names in modules if package in {name.split(".")[0] for name in names}}


def rooms_that_import(package: str) -> set[str]:
    """The rooms with a file that imports it."""
    return {room_of(path) for path in files_that_import(package)}


def test_only_the_transport_knows_the_wire_and_only_servers_aiohttp() -> None:
    assert rooms_that_import("httptools") == rooms_that_import("yarl") == {"transport"}
    assert rooms_that_import("aiohttp") == {"simulator", "viewer"}
    assert rooms_that_import("pygal") == {"report"}
    assert {path.name for path in files_that_import("ray")} == {"ray.py", "ray_cluster.py"}


def test_one_file_knows_redis() -> None:
    knowing = {
        str(path.relative_to(HOUSE))
        for path in HOUSE.rglob("*.py")
        if any(name.split(".")[0] == "redis" for name in modules_of(path))
    }
    assert knowing == {"limits/redis_book.py"}


SPEAK_ASYNCIO = {
    "transport/connection.py",
    "transport/dialing.py",
    "transport/streamed.py",
}  # callbacks cost a fifth of streams


def test_nobody_prints_and_only_the_sockets_speak_asyncio() -> None:
    found = []
    for path in sorted(HOUSE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            speaks = isinstance(node, ast.Name) and node.id == "asyncio"
            if called == "print" or (speaks and str(path.relative_to(HOUSE)) not in SPEAK_ASYNCIO):
                found.append(f"{path.relative_to(HOUSE)}:{node.lineno}")
    assert found == []
