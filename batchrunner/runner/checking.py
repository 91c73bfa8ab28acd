"""What no row could survive, told before anything is sent: in the job, and in the first rows as they will be asked."""

from collections.abc import Sequence

from batchrunner.chat.request import RequestSettings, compose
from batchrunner.errors import UsageError
from batchrunner.job.schema import Job
from batchrunner.job.sweep import swept_in
from batchrunner.records import Request, Row
from batchrunner.runner.budget import lacking
from batchrunner.runner.money import finder_of
from batchrunner.sink.parts import part_name, suffix_of
from batchrunner.source import takes_in

_COMPOSED = 1000


def check_output_apart(job: Job) -> None:
    """UsageError where the output is, or would be, part of the input."""
    output = job.output_path
    if takes_in(job.input, output / part_name(0, suffix_of(output)) if job.output_is_folder else output):
        raise UsageError(f"{output} is, or would be, part of the input: name another --output.")


def check_asked(job: Job, settings: Sequence[RequestSettings], first: list[Row]) -> None:
    """UsageError where no row could be asked."""
    _check_sweep(job, settings, first)
    _check_model(job, settings, first)
    _check_budget(job, settings, first)


def bodies_speak(settings: Sequence[RequestSettings], rows: list[Row]) -> bool:
    """Whether rows bring whole bodies."""
    return all(arm.render is None for arm in settings) and any("body" in row.columns for row in rows)


def _check_sweep(job: Job, settings: Sequence[RequestSettings], rows: list[Row]) -> None:
    swept = swept_in(job.sweep)
    if swept and bodies_speak(settings, rows):
        raise UsageError(
            f"The rows have a `body` each, which is sent as written: [sweep] can't change their {', '.join(swept)}; "
            "`samples` it may have."
        )


def _check_model(job: Job, settings: Sequence[RequestSettings], rows: list[Row]) -> None:
    own = "model" in settings[0].row_params and any("model" in row.columns for row in rows)
    rows_speak = own or bodies_speak(settings, rows)
    models = {arm.model for arm in settings}
    if None in models and rows and not rows_speak:
        raise UsageError("No model is named: say which with --model org/model, or `model` in [request].")
    others = [name for name in job.limits.models if name not in (*models, *job.limits.of_profile)]
    if others and not rows_speak and models.isdisjoint(job.limits.models):
        asked = ", ".join(sorted(filter(None, models)))
        raise UsageError(f'[limits."{others[0]}"] is for a model that is not asked; the model is {asked}.')


def _check_budget(job: Job, settings: Sequence[RequestSettings], rows: list[Row]) -> None:
    """A budget knows what a request costs at worst: that is looked at where the first rows are asked."""
    if not job.run.has_budget:
        return
    price_of = finder_of(job.prices)
    for arm in settings:
        for row in rows[: max(1, _COMPOSED // len(settings))]:
            request = compose(row, arm)
            if isinstance(request, Request):
                lack = lacking(request, price_of(request.model), has_cost=job.run.budget_cost is not None)
                if lack is not None:
                    raise UsageError(f"{lack[0].upper()}{lack[1:]}.")
