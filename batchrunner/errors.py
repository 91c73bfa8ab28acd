"""What can go wrong with a run, as exceptions. What goes wrong with one row is data: see records.Failure.

BatchrunnerError
├── UsageError          a job file, a template or a combination of options is wrong; nothing was sent
├── InputError          the input is missing, can't be read, or is not that of the earlier run
├── StorageError        reading or writing of batchrunner's own files failed
├── NoKeyError          there is no API key, or none that can be used
└── LockedError         another run works on the same output

The message says what is wrong and what to do about it. Only cli/ turns the class into an exit code.
"""


class BatchrunnerError(Exception):
    """Anything that stops a run before or beside its rows."""


class UsageError(BatchrunnerError):
    """A job file, a template or a combination of options is wrong; found before anything is sent."""


class InputError(BatchrunnerError):
    """The input is missing, can't be read, or is not that of the earlier run."""


class StorageError(BatchrunnerError):
    """Reading or writing of batchrunner's own files failed: disk full, no permission, a damaged store."""


class NoKeyError(BatchrunnerError):
    """There is no API key, or none that can be used."""


class LockedError(BatchrunnerError):
    """Another run holds the same output."""


def first_of(error: BaseException) -> BaseException:
    """Of what a task group wraps, what it is about: our own error before those that follow from it."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    inner = [first_of(one) for one in error.exceptions]
    return next((one for one in inner if isinstance(one, BatchrunnerError)), inner[0])
