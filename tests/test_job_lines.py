"""On which line of a job file a key stands, however it is written."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.job.lines import Place, line_at, lines_of

KEYS = st.sampled_from(["a", "b-1", "c d", "e.f", "ü", '"', "'", "#", "=", "[x]", "", "é\n", "\\"])
DECOYS = st.sampled_from(
    [
        "",
        "# a = 5 [x] {",
        "  # ''' \"\"\"",
        'z1 = """\n[no]\na = 1\n\\""" # \'\'\'\n""" # end',
        "z2 = '''\n[[no]]\n\"\"\"\n'''",
        'z3 = """"""',
        'z4 = """x"""""',
        "z5 = '''''x'''''",
        'z6 = "# [no] \\" = {"',
        "z7 = '# \\'",
        "z8 = [ # ]\n  'a]', [1,\n 2], # x\n]",
        "z9 = 1979-05-27 07:32:00Z",
    ]
)


def quoted(key: str) -> str:
    """A key as TOML writes it."""
    if key.isascii() and key.replace("-", "").isalnum():
        return key
    escaped = key.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


@st.composite
def documents(draw: st.DrawFn) -> str:
    """TOML whose every whole number above 100 is the line it stands on, plus 100."""
    parts: list[str] = []

    def here() -> int:
        return "\n".join([*parts, ""]).count("\n") + 101

    def value(depth: int, key: str) -> str:
        """In one line, or a list over several."""
        kind = draw(st.integers(0, 2 if depth < 3 else 0))
        inner = value(depth + 1, key) if kind else ""
        return [str(here()), f"[[], {inner}, {here()}]", f"{{ {quoted(key)} . x = {inner}, y = {here()} }}"][kind]

    def pairs() -> None:
        for key in draw(st.lists(KEYS, max_size=3, unique=True)):
            form = draw(st.integers(0, 2))
            if form == 2:
                parts.append(f"{quoted(key)} = [  # ]")
                parts.append(f"  {here()}, {{ a = {here()} }},")
                parts.append(f"  {here()} ]")
            else:
                written = quoted(key) if form == 0 else f"\t{quoted(key)} . 'u v' .w"
                parts.append(f"{written} = {value(0, key)}")

    pairs()
    for number, key in enumerate(draw(st.lists(KEYS, max_size=4))):
        parts.append(draw(DECOYS))
        parts.append(draw(st.sampled_from([f"[t{number}.{quoted(key)}]", "[[many]]", "[[m.n]]"])))
        pairs()
    return draw(st.sampled_from(["\n", "\r\n"])).join("\n".join(parts).split("\n"))


def leaves(value: Any, place: Place = ()) -> list[tuple[Place, int]]:
    """Where the whole numbers above 100 stand."""
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*place, key))]
    if isinstance(value, list):
        return [leaf for number, inner in enumerate(value) for leaf in leaves(inner, (*place, number))]
    return [(place, value - 100)] if isinstance(value, int) and value > 100 else []


@given(documents())
def test_every_key_is_found_on_its_line(text: str) -> None:
    lines = lines_of(text)
    found = leaves(tomllib.loads(text))
    assert [(place, lines.get(place)) for place, _ in found] == found


@pytest.mark.parametrize(
    ("text", "place", "line"),
    [
        ('input = "a"\n\n[limits]\nrpm = 5', ("limits", "rpm"), 4),
        ('[limits]\n[limits."acme/small"]\nrpm = 5', ("limits", "acme/small", "rpm"), 3),
        ("limits.'acme/small'.rpm = 5", ("limits", "acme/small", "rpm"), 1),
        ("\n[a.b]", ("a",), 2),
        ("[a.b]\n[a]\nx = 1", ("a", "x"), 3),
        ("\nlimits = { tiny = { rpm = 5 } }", ("limits", "tiny", "rpm"), 2),
        ("[request]\nmessages = [\n {role = 'user'},\n {role = 'x'} ]", ("request", "messages", 1, "role"), 4),
        ("[[a]]\n[[a]]\n[a.b]\nx = 1\n[[a.c]]\ny = 1", ("a", 1, "c", 0, "y"), 6),
        ('"\\u00e9" = 1', ("é",), 1),
        ('p = """\nrpm = 1\n"""\nrpm = 5', ("rpm",), 4),
    ],
)
def test_a_key_is_found_in_every_way_to_write_it(text: str, place: Place, line: int) -> None:
    tomllib.loads(text)
    assert lines_of(text)[place] == line


def test_what_is_not_there_is_found_at_what_would_hold_it() -> None:
    lines = lines_of("\n[limits]\nrpm = 5")
    assert line_at(lines, ("limits", "tiny", "concurrency")) == 2
    assert line_at(lines, ("input",)) is None
