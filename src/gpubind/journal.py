# SPDX-License-Identifier: Apache-2.0
"""The same line to the system's log: crun shows nobody what a hook says, runc only a failed one's.

One datagram, never waited for: to systemd's journal in its native protocol
(systemd.io/JOURNAL_NATIVE_PROTOCOL), or where there is none to a syslog daemon (RFC 3164). Loaded
only when there is something to say. `_socket` stands for `socket`, which would cost 7 ms.
"""

from __future__ import annotations

import os

JOURNAL = "/run/systemd/journal/socket"
SYSLOG = "/dev/log"
PRIORITIES = {"error": 3, "warning": 4}
"""Numbers of syslog(3) for the levels of `gpubind.log` that are told."""

_DAEMON = 3 << 3  # LOG_DAEMON
_LONGEST = 8000  # letters; syslog daemons cut at 8 KiB, a datagram may have 200 KiB


def tell(program: str, level: str, line: str, journal: str = JOURNAL, syslog: str = SYSLOG) -> None:
    """Tell one printable line of `program`; where nobody listens, or all are busy, it is lost."""
    try:
        import _socket

        made = _socket.socket(
            _socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
        )
    except (ImportError, OSError):
        return
    for path, form in ((journal, native), (syslog, classic)):
        text = form(program, PRIORITIES[level], line[:_LONGEST])
        try:
            made.sendto(text.encode("utf-8", "backslashreplace"), path)
        except BlockingIOError:
            break  # it is there, and its queue is full
        except OSError:
            continue
        break
    made.close()


def native(program: str, priority: int, line: str) -> str:
    """Give a message as the journal reads it. Pure."""
    return f"PRIORITY={priority}\nSYSLOG_IDENTIFIER={program}\nMESSAGE={line}\n"


def classic(program: str, priority: int, line: str) -> str:
    """Give a message as syslog(3) writes it, with the local time."""
    import time

    now = time.localtime()
    month = "JanFebMarAprMayJunJulAugSepOctNovDec"[now.tm_mon * 3 - 3 : now.tm_mon * 3]
    stamp = f"{month} {now.tm_mday:2} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
    return f"<{_DAEMON | priority}>{stamp} {program}[{os.getpid()}]: {line}"
