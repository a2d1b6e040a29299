"""The faults of servers as sentences, and the exit code of a command that met one."""

from typing import NamedTuple

import asyncpg

from shared.process.lifecycle import EXIT_REFUSED
from shared.process.server_faults import ServerFault, server_fault

#: The command ran, or could not run, and may succeed later unchanged.
EXIT_FAILED = 1


class Fault(NamedTuple):
    """`text` says what is wrong and what to do. It holds no secret."""

    text: str
    exit_code: int


#: What is wrong with the server that {setting} names. A wrong setting is refused: the same command
#: fails again.
_FAULTS: dict[ServerFault, Fault] = {
    "read_only": Fault(
        "the server of {setting} is read-only: it is a standby, or was made read-only; name the"
        " primary, or wait until it takes writes again",
        EXIT_FAILED,
    ),
    "login_refused": Fault(
        "the server of {setting} refuses the user or the password: correct {setting}", EXIT_REFUSED
    ),
    "no_such_database": Fault(
        "the server of {setting} has no such database: create it, or correct {setting}",
        EXIT_REFUSED,
    ),
    "malformed_url": Fault(
        "{setting} has an option or a value that does not exist, such as a wrong sslmode: correct"
        " it",
        EXIT_REFUSED,
    ),
    "certificate_refused": Fault(
        "TLS with the server of {setting} failed: its certificate could not be verified; check its"
        " name and sslrootcert",
        EXIT_REFUSED,
    ),
    "no_tls": Fault(
        "the server of {setting} offers no TLS: turn TLS on there, or change sslmode", EXIT_REFUSED
    ),
    "unknown_host": Fault(
        "the host name in {setting} cannot be resolved: correct it, or check DNS", EXIT_FAILED
    ),
    "no_answer": Fault(
        "the server of {setting} did not answer in time: it is frozen, overloaded, or waits for a"
        " lock; look at the server, then run the command again",
        EXIT_FAILED,
    ),
    "nothing_listens": Fault(
        "no server listens at the address in {setting}: start it, or correct {setting}",
        EXIT_FAILED,
    ),
    "starting": Fault(
        "the server of {setting} is starting or stopping: wait, then run the command again",
        EXIT_FAILED,
    ),
    "full": Fault(
        "the server of {setting} has used up its disk, memory or connections: make room there",
        EXIT_FAILED,
    ),
    "lost": Fault(
        "the server of {setting} could not be reached or broke off: check that it is up, then run"
        " the command again",
        EXIT_FAILED,
    ),
}


def explain(error: BaseException, setting: str) -> Fault | None:
    """Return what is wrong with the server of `setting`; None if the error is another one."""
    kind = server_fault(error)
    if kind is not None:
        fault = _FAULTS[kind]
        return fault._replace(text=fault.text.format(setting=setting))
    if isinstance(error, asyncpg.PostgresError):
        return Fault(
            f"PostgreSQL refused a statement of ours (SQLSTATE {error.sqlstate})", EXIT_FAILED
        )
    return None
