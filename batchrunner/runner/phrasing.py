"""What the job says of every request, made ready: templates compiled, the schema checked, the folder of files opened.

UsageError for what no row could survive, found before anything is sent.
"""

from collections.abc import Sequence
from pathlib import Path

from batchrunner.chat.expecting import Expectations
from batchrunner.chat.request import RequestSettings
from batchrunner.errors import UsageError
from batchrunner.job.schema import Job
from batchrunner.records import Failure, Row
from batchrunner.runner.columns import check_template
from batchrunner.source.attachments import Folder
from batchrunner.source.conversation import Conversation
from batchrunner.source.template import Template, compile_template


def phrase(job: Job, rows: Sequence[Row], *, base_url: str, from_texts: bool) -> RequestSettings:
    """The settings of the job's requests, held against the first rows."""
    request = job.request
    conversation = Conversation(request.messages, job.places) if request.messages else None
    prompt, system = (
        None if text is None else compile_template(text, job.places.get(text, ""))
        for text in (request.prompt, request.system)
    )
    for template in (*((prompt,) if prompt else ()), *(conversation.templates if conversation else ())):
        check_template(template, rows)
    if system is not None:
        renders = prompt is not None or conversation is not None
        check_template(system, [row for row in rows if renders or row.columns.get("body") is None])
    constant = None if system is None or system.names else _constant(system)
    return RequestSettings(
        model=request.model,
        base_url=base_url,
        params=request.all_params,
        row_params=tuple(request.row_params),
        from_texts=from_texts,
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
        place = f"{template.place}: " if template.place else ""
        raise UsageError(f"{place}The system message can't be made: {text.message}.")
    return text


def _expectations(job: Job) -> Expectations:
    expectations = Expectations(frozenset(job.retry.fail_on))
    try:
        expectations.of(job.request.all_params.get("response_format"))
    except ValueError as error:
        raise UsageError(f"response_format: {error}") from error
    return expectations
