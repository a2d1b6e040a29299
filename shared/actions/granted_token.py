"""Fetch from Meta, without the customer, the token that its business granted us before."""

import hmac
from dataclasses import dataclass

from shared.domain.proof import TokenReport
from shared.graph.client import Graph


@dataclass(frozen=True, slots=True, repr=False)
class GrantedToken:
    """A token and what Meta reports about it. `repr` does not show it."""

    text: str
    report: TokenReport


async def fetch_granted_token(
    graph: Graph, waba_id: str, business_id: str, *, known: str | None, can_wait: bool = False
) -> GrantedToken | None:
    """Return the business's token if it is valid, issued to us and reaches the WABA.

    None if it is not, and if it is the one that is `known`: to get that again is no help.
    `can_wait`: the call is not urgent, and leaves room in the app's limit for others. Raise
    GraphError.
    """
    token = await graph.fetch_token(business_id, subject=waba_id)
    if known is not None and hmac.compare_digest(token.text.encode(), known.encode()):
        return None
    report = await graph.debug_token(token.text, subject=waba_id, can_wait=can_wait)
    is_granted = report.wabas is None or waba_id in report.wabas
    if not (report.is_valid and report.app_id == graph.app_id and is_granted):
        return None
    await graph.read_waba(waba_id, token.text)
    return GrantedToken(token.text, report.or_ending(token.expires_at))
