"""A file that is, at every moment and after any fault, the whole old one or the whole new one."""

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from secrets import token_hex

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL)
"""What file systems without locks say."""
# What the file would be when nothing else is asked: the process's umask takes its share.
_NEW_FILE_MODE = 0o666


def write_atomically(path: str | Path, data: bytes) -> None:
    """Writes data to a temporary name in the same folder, flushes it to the disk, renames it.

    A symbolic link is followed, so that the file it points to is replaced and the link stays.
    Raises OSError; the old file is then as it was and no temporary file is left.
    """
    target = _target(path)
    temporary, descriptor = _open_temporary(target)
    try:
        try:
            write_all(descriptor, data)
            if (mode := _mode(target)) is not None:
                os.fchmod(descriptor, stat.S_IMODE(mode))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(target.parent)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of the data: the system may take a part at a time. Raises OSError."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def append_lasting(path: str | Path, data: bytes) -> None:
    """Appends data to a file, made where there is none, and flushes it to the disk.

    Raises OSError; a part of the data may be there then.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _NEW_FILE_MODE)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(path: str | Path) -> None:
    """Finds out now, by a trial that leaves nothing, whether `write_atomically` can work later.

    Raises OSError with what is in the way; asking for permissions alone would not tell a
    read-only disk, and tells the superuser nothing.
    """
    temporary, descriptor = _open_temporary(_target(path))
    os.close(descriptor)
    temporary.unlink()


@contextmanager
def alone_at(path: str | Path) -> Generator[Path]:
    """Keeps other processes that ask for the same name away until the block ends.

    By a locked file beside it, which it gives: `.fanin-….lock`. A process that is killed leaves it,
    and nobody minds. Raises OSError; BlockingIOError where another process is there. Systems and
    disks without locks are no worse off than without this.
    """
    target = _target(path)
    name = sha256(os.fsencode(target.name)).hexdigest()[:16]
    beside = target.parent / f".fanin-{name}.lock"
    descriptor = _locked(beside)
    try:
        yield beside
    finally:
        if descriptor >= 0:
            beside.unlink(missing_ok=True)
            os.close(descriptor)


def _locked(path: Path) -> int:
    """An open and locked file; −1 where there are no locks."""
    try:
        import fcntl
    except ImportError:
        return -1
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _NEW_FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass  # who had it before has just taken it away
        except OSError as error:
            os.close(descriptor)
            if error.errno in NO_LOCKS:
                path.unlink(missing_ok=True)
                return -1
            raise
        os.close(descriptor)


def reason(error: OSError | ValueError) -> str:
    """What the system says, without its number and the file's name."""
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:]


def _target(path: str | Path) -> Path:
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist", str(path))
    mode = _mode(target)
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder; name a file in it", str(path))
    if mode is not None and not stat.S_ISREG(mode):
        # A rename would put a plain file in the place of a device or a pipe.
        raise OSError(errno.EINVAL, "is not a plain file", str(path))
    return target


def _mode(target: Path) -> int | None:
    try:
        return target.stat().st_mode
    except FileNotFoundError:
        return None


def _open_temporary(target: Path) -> tuple[Path, int]:
    # The name may be as long as the file system allows, so the temporary one is not built on it.
    temporary = target.parent / f".fanin-{token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return temporary, os.open(temporary, flags, _NEW_FILE_MODE)


def _flush_folder(folder: Path) -> None:
    """Makes the rename itself last, where a folder can be opened and flushed."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # a folder that may be written but not read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS):
            raise
    finally:
        os.close(descriptor)
