"""The viewer on a real socket of this machine: the thin edge, on aiohttp.web, around gate, rows and pages.

    async with serve(run_dir, job_of) as address: ...

Every answer is made anew and kept by nobody; what can't be read is told in the page, and looked for again at the next.
"""

import secrets
import socket
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
from aiohttp import web
from anyio import to_thread
from anyio.abc import TaskGroup

from batchrunner.errors import BatchrunnerError
from batchrunner.folder.ending import End, Ending
from batchrunner.folder.reporting import Chronicle
from batchrunner.report import page as report_page
from batchrunner.report.facts import Facts
from batchrunner.runner.course import Course
from batchrunner.store.lock import holder_of
from batchrunner.viewer.gate import TOKEN, Gate, Visit
from batchrunner.viewer.kept import Kept
from batchrunner.viewer.pages import FOLDER, POLICY, Pages
from batchrunner.viewer.question import Question, number_in, question_of
from batchrunner.viewer.rows import JobOf, Rows
from batchrunner.viewer.search import Search

HOST = "127.0.0.1"
MOST_SEARCHES = 8
PATIENCE_SECONDS = 1.0  # with a search, before a page shows what it has found so far
SHUTDOWN_SECONDS = 0.25
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_FILES = {
    "page.css": (report_page.FOLDER, "text/css"),
    "viewer.css": (FOLDER, "text/css"),
    "viewer.js": (FOLDER, "text/javascript"),
}

_Made = TypeVar("_Made")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Addresses:
    """Where a viewer is: `lasting` for people, `once` for a browser that is started with it."""

    def __init__(self, port: int, token: str, once: str) -> None:
        self.port = port
        self.lasting = f"http://{HOST}:{port}/?{TOKEN}={token}"
        self.once = f"http://{HOST}:{port}/?{TOKEN}={once}"


class Viewer:
    """The pages of a run, for those whom the gate lets in. Searches go on among `tasks`, until `course` is stopped."""

    def __init__(self, rows: Rows, pages: Pages, gate: Gate, tasks: TaskGroup, course: Course) -> None:
        self._rows = rows
        self._facts: Kept[Facts] = Kept(Chronicle(rows.run_dir, course.heed).facts)
        self._pages = pages
        self._gate = gate
        self._tasks = tasks
        self._searches: OrderedDict[str, Search] = OrderedDict()
        self._looking: dict[Search, anyio.Event] = {}
        self._choosing = anyio.Lock()
        self._one_fact, self._one_page, self._one_search = (anyio.CapacityLimiter(1) for _ in range(3))

    def application(self) -> web.Application:
        """All that it answers."""
        application = web.Application(middlewares=[self._guarded])
        application.add_routes(
            [
                web.get("/", self._overview),
                web.get("/rows", self._sheet),
                web.get("/row/{number:[0-9]{1,15}}", self._unit),
                web.get("/row/{number:[0-9]{1,15}}.json", self._whole),
                *(web.get(f"/{name}", self._file) for name in _FILES),
            ]
        )
        return application

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await self._answered(request, handler)
        except web.HTTPException as error:
            response = self._page(self._pages.message("There is no such page."), status=error.status)
        except BatchrunnerError as error:
            response = self._page(self._pages.message(str(error), "This can't be read"), status=500)
        response.headers.update(HEADERS)
        return response

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        visit = Visit(method=request.method, headers=headers, cookies=request.cookies, query=request.query)
        refusal = self._gate.refusal(visit)
        if refusal is not None:
            return web.Response(text=f"{refusal.words}\n", status=refusal.status)
        if TOKEN not in request.query:
            return await handler(request)
        if not self._gate.admits(request.query[TOKEN]):
            return web.Response(text="This token is not, or no longer, the viewer's.\n", status=403)
        response = self._page(self._pages.welcome())
        response.set_cookie(self._gate.cookie, self._gate.lasting, path="/", httponly=True, samesite="Strict")
        return response

    async def _overview(self, _: web.Request) -> web.Response:
        facts = await to_thread.run_sync(self._facts.get, limiter=self._one_fact)
        return self._page(await to_thread.run_sync(self._pages.overview, facts, limiter=self._one_fact))

    async def _sheet(self, request: web.Request) -> web.Response:
        question = question_of(request.query)
        search = await self._search(question)
        first = number_in(request.query, "from") or 0
        sheet = await self._read(self._rows.sheet, question, first, search)
        running = holder_of(self._rows.run_dir) is not None
        return self._page(self._pages.sheet(sheet, question, search, running=running))

    async def _unit(self, request: web.Request) -> web.Response:
        question = question_of(request.query)
        number = int(request.match_info["number"])
        opened = await self._read(self._rows.opened, number, question, await self._search(question))
        if opened is None:
            raise web.HTTPNotFound
        return self._page(self._pages.unit(opened, question))

    async def _whole(self, request: web.Request) -> web.Response:
        row = await self._read(self._rows.whole, int(request.match_info["number"]))
        if row is None:
            raise web.HTTPNotFound
        return web.Response(body=row, content_type="application/json")

    async def _file(self, request: web.Request) -> web.Response:
        folder, kind = _FILES[request.path.removeprefix("/")]
        return web.Response(body=(folder / request.path.removeprefix("/")).read_bytes(), content_type=kind)

    def _page(self, text: str, status: int = 200) -> web.Response:
        return web.Response(body=text.encode(), content_type="text/html", charset="utf-8", status=status)

    async def _read(self, read: Callable[..., _Made], *of: Any) -> _Made:
        return await to_thread.run_sync(partial(read, *of), limiter=self._one_page)

    async def _search(self, question: Question) -> Search | None:
        """The search for the words of the question, which has looked at all, or goes on while its page is shown."""
        words = question.words
        if not words:
            return None
        async with self._choosing:
            search = await self._read(self._rows.search, words, self._searches.get(words))
            self._searches[words] = search
            self._searches.move_to_end(words)
        while len(self._searches) > MOST_SEARCHES:
            self._searches.popitem(last=False)[1].stopped = True
        if search.is_due and search not in self._looking:
            self._looking[search] = anyio.Event()
            self._tasks.start_soon(self._look, search)
        if search in self._looking:
            with anyio.move_on_after(PATIENCE_SECONDS):
                await self._looking[search].wait()
        return search

    async def _look(self, search: Search) -> None:
        try:
            await to_thread.run_sync(search.look, limiter=self._one_search, abandon_on_cancel=True)
        except BatchrunnerError as error:
            search.troubles[str(error)] = None
            search.done = True
        finally:
            self._looking.pop(search).set()


@asynccontextmanager
async def serve(run_dir: Path, job_of: JobOf, *, name: str, port: int = 0) -> AsyncIterator[Addresses]:
    """Serve until the block ends. Port 0 is any free one. OSError where the port can't be had."""
    with closing(socket.create_server((HOST, port))) as listening:
        async with anyio.create_task_group() as tasks:
            bound = int(listening.getsockname()[1])
            token, once = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
            course = Course()
            rows = Rows(run_dir, job_of, course.heed)
            viewer = Viewer(rows, Pages(name), Gate(bound, token, once), tasks, course)
            runner = web.AppRunner(viewer.application(), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
            await runner.setup()
            try:
                await web.SockSite(runner, listening).start()
                yield Addresses(bound, token, once)
            finally:
                course.stop(Ending(end=End.LEFT, message="the viewer has ended"))
                with anyio.CancelScope(shield=True):
                    await runner.cleanup()
                tasks.cancel_scope.cancel()
