"""Puts finished folders in place, so that a folder is either complete or not there.

A piece is made in a temporary folder beside its target and renamed into place when it is complete and on the
disk; its setup.json, written last, says what it was made from and the sizes and hashes of its files. One setup
at a time works on a home.
"""

import contextlib
import errno
import json
import os
import shutil
import tempfile
from pathlib import Path

from digest import sha256
from failure import SetupFailure

RECORD = "setup.json"
_TEMPORARY = ".setup-"


def record(folder):
    """What a piece was made from and its files; nothing where it cannot be read."""
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def sizes(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def is_complete(folder, made_from):
    """Whether the folder was made from just this, and still has its files in their sizes; see also `damaged`."""
    known = record(folder)
    files = known.get("files")
    if known.get("made_from") != made_from or not files:
        return False
    present = sizes(folder)
    return all(present.get(name) == size for name, size in files.items())


def damaged(folder):
    """The files of a complete piece that are not as they were made. It reads them all, unlike `is_complete`.

    Of a piece from before hashes were recorded nothing can be said, so all its files count as damaged.
    """
    known = record(folder)
    hashes = known.get("sha256", {})
    return [name for name in known["files"] if sha256(folder / name) != hashes.get(name)]


def _flush(path):
    """Waits until a file or folder is on the disk, so that a power cut after the rename finds it whole."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot flush folders.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)


def _flush_tree(folder):
    for path in folder.rglob("*"):
        _flush(path)
    _flush(folder)


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
        files = sizes(new)
        hashes = {name: sha256(new / name) for name in files}
        text = json.dumps({"made_from": made_from, "files": files, "sha256": hashes}, indent=2)
        (new / RECORD).write_text(text + "\n", encoding="utf-8")
        _flush_tree(new)
        # A folder with files in it cannot be renamed over, so an outdated one is first moved out of the way.
        if target.exists():
            target.rename(old)
        new.rename(target)
        _flush(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def stale(targets):
    """Temporary folders that a killed setup left. Call it with the lock held, or only to look."""
    return [path for parent in {target.parent for target in targets} for path in parent.glob(_TEMPORARY + "*")]


@contextlib.contextmanager
def only_one(home, say):
    """Holds the lock of a home. The kernel drops it with its process, so a killed setup blocks no one."""
    try:
        import fcntl
    except ImportError:
        # The platform check says so first, except to those who bring a library of their own.
        raise SetupFailure("the setup does not run on Windows", "use Linux or macOS.") from None

    home.mkdir(parents=True, exist_ok=True)
    with open(home / ".lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another setup works on {home}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
