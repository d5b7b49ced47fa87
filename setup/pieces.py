"""Puts finished folders in place, so that a folder is either complete or not there.

A piece is made in a temporary folder beside its target and renamed into place when it is complete; its
setup.json, written last, says what it was made from. One setup at a time works on a home.
"""

import contextlib
import json
import shutil
import tempfile
from pathlib import Path

from failure import SetupFailure

RECORD = "setup.json"
_TEMPORARY = ".setup-"


def record(folder):
    """What a piece was made from and the sizes of its files; nothing where it cannot be read."""
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def sizes(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def is_complete(folder, made_from):
    """Whether the folder was made from just this, and still has its files in their sizes."""
    known = record(folder)
    if known.get("made_from") != made_from:
        return False
    present = sizes(folder)
    return all(present.get(name) == size for name, size in known.get("files", {}).items())


@contextlib.contextmanager
def making(target, made_from):
    """Gives a temporary folder to fill; if all goes well it becomes the target, otherwise it is removed."""
    if target.exists() and not (target / RECORD).exists():
        raise SetupFailure(
            f"{target} is in the way: it has no {RECORD}, so the setup did not make it and will not replace it",
            "move it elsewhere and run the setup again.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=target.parent))
    try:
        new, old = temporary / "new", temporary / "old"
        new.mkdir()
        yield new
        text = json.dumps({"made_from": made_from, "files": sizes(new)}, indent=2)
        (new / RECORD).write_text(text + "\n", encoding="utf-8")
        # A folder with files in it cannot be renamed over, so an outdated one is first moved out of the way.
        if target.exists():
            target.rename(old)
        new.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def stale(targets):
    """Temporary folders that a killed setup left. Call it with the lock held, or only to look."""
    return [path for parent in {target.parent for target in targets} for path in parent.glob(_TEMPORARY + "*")]


@contextlib.contextmanager
def only_one(home, say):
    """Holds the lock of a home. The kernel drops it with its process, so a killed setup blocks no one."""
    import fcntl  # not on Windows, where the platform check speaks first

    home.mkdir(parents=True, exist_ok=True)
    with open(home / ".lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another setup works on {home}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
