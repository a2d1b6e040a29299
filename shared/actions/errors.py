"""Errors of use cases. The API maps them to a status, the command line to its text."""


class UseCaseError(Exception):
    """The use case cannot do what its caller asked.

    `code` is for programs and stays the same; the text is for people. Neither holds a secret.
    """

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        super().__init__(text)


class Missing(UseCaseError):
    """What the caller named does not exist, or it belongs to another organization."""


class NotAllowed(UseCaseError):
    """The caller may see it, and may not do this to it."""


class WrongState(UseCaseError):
    """It is in a state that does not allow this."""
