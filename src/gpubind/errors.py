# SPDX-License-Identifier: Apache-2.0
"""What an operator can mend, as exceptions with a stable ID and an exit status.

    ToolkitError                 status 1
     +-- UsageError              status 2: the command line is wrong
     +-- PartialError            status 3: something was done, something named was not
     +-- DocumentError           a document (CDI spec, config.json, sidecar) is wrong at a place
     +-- RootEscapeError         a path does not belong to the root it was used with

`main` prints `str(error)`, one line, and exits with `error.status`. Nothing else prints or exits.
docs/errors.md has a section for each ID; tests/rules compare the two.
"""


class ToolkitError(Exception):
    """A failure with one line for the operator: what, where, what to do, and an ID.

    `identifier` is the stable ID, such as `DRV-MISMATCH`; `hint` is what to do, or empty.
    """

    status = 1

    def __init__(self, message: str, *, identifier: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.identifier = identifier
        self.hint = hint

    def __str__(self) -> str:
        hint = f"; {self.hint}" if self.hint else ""
        return printable(f"{self.message}{hint} [{self.identifier}]")


class UsageError(ToolkitError):
    """The command line asks for something that does not exist."""

    status = 2


class PartialError(ToolkitError):
    """The work was done but for the named parts."""

    status = 3


class DocumentError(ToolkitError):
    """A document is wrong at a place: `expected text, found int at containerEdits.mounts[0]`.

    `path` is the place inside the document, `file` the document's name where it is known. Both are
    added on the way up, each level putting its own step before the path.
    """

    def __init__(
        self, message: str, *, path: str = "", file: str = "", identifier: str = "DOC-INVALID"
    ) -> None:
        super().__init__(message, identifier=identifier)
        self.path = path
        self.file = file

    def under(self, step: str) -> "DocumentError":
        """Give the same error one level higher in the document."""
        joint = "" if not self.path or self.path.startswith("[") else "."
        return DocumentError(
            self.message,
            path=f"{step}{joint}{self.path}",
            file=self.file,
            identifier=self.identifier,
        )

    def of(self, file: str) -> "DocumentError":
        """Give the same error with the document's name."""
        return DocumentError(self.message, path=self.path, file=file, identifier=self.identifier)

    def __str__(self) -> str:
        file = f"{self.file}: " if self.file else ""
        place = f" at {self.path}" if self.path else ""
        return printable(f"{file}{self.message}{place} [{self.identifier}]")


class RootEscapeError(ToolkitError):
    """A host path was used with a root that does not contain it."""

    def __init__(self, path: str, root: str) -> None:
        super().__init__(f"{path} is not under {root}", identifier="ROOT-ESCAPE")


def line(error: Exception, identifier: str) -> str:
    """Give the line for an error that is none of ours: `identifier` is that of a kernel's refusal.

    What nobody thought of is named with its place, in place of a traceback.
    """
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror or error} [{identifier}]"
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
    return f"{type(error).__name__}: {error!s:.200} ({place}); please report it [INTERNAL-ERROR]"


def printable(text: str) -> str:
    """Give `text` on one line, control characters and undecodable bytes escaped."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )
