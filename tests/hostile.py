"""A gateway that means harm, in a thread: it sends the key back in every form and place, and whatever bytes a test
says. And the search for a key through all that was written."""

import base64
import html
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
from listening import serving

# Every sign in it that an encoding may write otherwise; it can stand in a header.
CANARY = 'sk-Can/ary+7Wq"5\\k&t=9%zQ<0123456789abcdef'
Reply = Callable[[BaseHTTPRequestHandler, str], bytes]


def _escaped(key: str) -> str:
    return "".join(f"\\u{ord(sign):04x}" for sign in key)


FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "percent": lambda key: quote(key, safe=""),
    "percent, small": lambda key: re.sub("%..", lambda found: found[0].lower(), quote(key, safe="")),
    "percent, but slashes": quote,
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 of the header": lambda key: base64.b64encode(f"Api-Key {key}".encode()).decode(),
    "base64 of a name and it": lambda key: base64.b64encode(f"me:{key}".encode()).decode(),
    "base64 for URLs": lambda key: base64.urlsafe_b64encode(key.encode()).decode().rstrip("="),
    "JSON": lambda key: json.dumps(key)[1:-1],
    "JSON, slashes escaped": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "JSON, all escaped": _escaped,
    "JSON, some escaped": lambda key: "".join(_escaped(sign) if sign in '/-<&+"\\' else sign for sign in key),
    "HTML": html.escape,
    "its beginning": lambda key: key[:12],
    "its end": lambda key: key[-12:],
}


@contextmanager
def hostile(reply: Reply) -> Iterator[str]:
    """Its base URL. `reply` makes the bytes for a request, given its handler and the text of its last message."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            messages = asked.get("messages")
            self.wfile.write(reply(self, messages[-1]["content"] if isinstance(messages, list) else ""))
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as base_url:
        yield base_url


def http(status: str, body: str | bytes, **headers: str) -> bytes:
    """A whole reply that ends with its connection."""
    content = body.encode() if isinstance(body, str) else body
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}Connection: close\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def found_in(content: bytes, key: str) -> list[str]:
    """The forms in which a key stands in these bytes."""
    forms = ((name, form(key).encode()) for name, form in FORMS.items())
    return [name for name, form in forms if any(piece in content for piece in _pieces(name, form))]


def found_under(folder: Path, key: str) -> list[str]:
    """Where below a folder the key stands in any file, in a name, a database's values, a table's columns."""
    found = []
    for path in folder.rglob("*"):
        content = str(path).encode()
        if path.is_file():
            content += path.read_bytes() + _within(path)
        found += [f"{path.relative_to(folder)}: {form}" for form in found_in(content, key)]
    return found


def _within(path: Path) -> bytes:
    """What the bytes of a file don't show: a value may be cut in two, or packed."""
    if path.suffix == ".sqlite":
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            return "\n".join(db.iterdump()).encode() + b"\n".join(_blobs(db))
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return json.dumps(table.to_pylist(), default=str).encode() + str(table.schema).encode()
    return b""


def _blobs(db: sqlite3.Connection) -> Iterator[bytes]:
    """What a dump shows in hexadecimal."""
    for (outcome,) in db.execute("SELECT outcome FROM bodies") if _has_bodies(db) else ():
        yield outcome if isinstance(outcome, bytes) else str(outcome).encode()


def _has_bodies(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT 1 FROM sqlite_master WHERE name = 'bodies'").fetchone())


def _pieces(name: str, form: bytes) -> list[bytes]:
    """What betrays a form: of base64, whose ends depend on what stands around it, its middle."""
    return [form[16:-6]] if name.startswith("base64") else [form]
