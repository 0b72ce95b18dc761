# SPDX-License-Identifier: Apache-2.0
"""A program that stands for dockerd: has a socket, tells its runtimes, reads its file on SIGHUP.

Words: --config-file=FILE --host=unix://SOCKET and one of `loads`, `refuses` (keeps what it had) and
`dies` for what it does on SIGHUP with a file that names a runtime; `clings` dies of one without.
"""

from __future__ import annotations

import json
import signal
import socket
import sys


def runtimes(path: str) -> list[str]:
    """Give the runtimes of a daemon.json."""
    with open(path, encoding="utf-8") as file:
        return ["runc", *json.load(file).get("runtimes", {})]


def main() -> None:
    """Serve until killed."""
    words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    config, manner = words["--config-file"], sys.argv[-1]
    known = runtimes(config)

    def again(number: int, frame: object) -> None:
        del number, frame
        fresh = runtimes(config)
        if manner == "dies" and len(fresh) > 1:
            sys.exit(1)
        if manner == "clings" and len(fresh) == 1:
            sys.exit(1)
        if manner == "loads":
            known[:] = fresh

    signal.signal(signal.SIGHUP, again)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(words["--host"].removeprefix("unix://"))
        listening.listen()
        while True:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                body = json.dumps({"Runtimes": {name: {} for name in known}})
                connection.sendall(f"HTTP/1.0 200 OK\r\n\r\n{body}".encode())


if __name__ == "__main__":
    main()
