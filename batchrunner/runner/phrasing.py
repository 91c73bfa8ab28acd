"""What the job says of every request, made ready: templates compiled, the schema checked, the folder of files opened.

UsageError for what no row could survive, found before anything is sent.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path

from batchrunner.chat.expecting import Expectations
from batchrunner.chat.request import RequestSettings
from batchrunner.errors import UsageError
from batchrunner.job.schema import Job
from batchrunner.records import Failure, Row
from batchrunner.source.attachments import Folder
from batchrunner.source.conversation import Conversation
from batchrunner.source.template import Template, compile_template, missing_columns


def phrase(job: Job, rows: Sequence[Row], *, base_url: str) -> RequestSettings:
    """The settings of the job's requests, held against the first rows."""
    request = job.request
    conversation = Conversation(request.messages) if request.messages else None
    prompt = None if request.prompt is None else compile_template(request.prompt)
    system = None if request.system is None else compile_template(request.system)
    for template in (*((prompt,) if prompt else ()), *(conversation.templates if conversation else ())):
        _check_columns(template, rows)
    if system is not None:
        renders = prompt is not None or conversation is not None
        _check_columns(system, [row for row in rows if renders or row.columns.get("body") is None])
    constant = None if system is None or system.names else _constant(system)
    return RequestSettings(
        model=request.model,
        base_url=base_url,
        params=request.all_params,
        row_params=tuple(request.row_params),
        system=constant,
        render_system=system.render if system is not None and constant is None else None,
        render=conversation.render if conversation else prompt.render if prompt else None,
        read_file=None if request.files is None else Folder(Path(request.files)).read,
        expectations=_expectations(job),
        stream=request.stream,
    )


def _constant(template: Template) -> str:
    """What a template without columns says to every row."""
    text = template.render({})
    if isinstance(text, Failure):
        raise UsageError(f"The system message can't be made: {text.message}.")
    return text


def _expectations(job: Job) -> Expectations:
    expectations = Expectations(frozenset(job.retry.fail_on))
    try:
        expectations.of(job.request.all_params.get("response_format"))
    except ValueError as error:
        raise UsageError(f"response_format: {error}") from error
    return expectations


def _check_columns(template: Template, rows: Sequence[Row]) -> None:
    missing = sorted(missing_columns(template, rows))
    if not missing:
        return
    known = sorted({name for row in rows for name in row.columns})
    near = difflib.get_close_matches(missing[0], known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"its columns are: {', '.join(known) or 'none'}."
    raise UsageError(f"The template needs the column {missing[0]!r}, which the input does not have; {hint}")
