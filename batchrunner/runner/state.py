"""Where this user's state is, when nobody says."""

import os
from pathlib import Path


def state_home() -> Path:
    """$XDG_STATE_HOME/batchrunner, that is ~/.local/state/batchrunner; a relative one counts for nothing there."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home and Path(home).is_absolute() else Path.home() / ".local" / "state") / "batchrunner"
