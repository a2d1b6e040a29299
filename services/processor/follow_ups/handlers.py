"""Which handler each kind of follow-up has."""

from collections.abc import Mapping
from functools import partial

from services.processor.follow_ups.context import FollowUpContext, FollowUpHandler
from services.processor.follow_ups.disconnect import disconnect
from services.processor.follow_ups.prove import prove, record_blocked_proof
from services.processor.follow_ups.provision import provision, record_blocked_setup
from services.processor.follow_ups.read import read
from shared.store.connections.follow_ups import FollowUpKind


def handlers(context: FollowUpContext) -> Mapping[FollowUpKind, FollowUpHandler]:
    return {
        "prove": FollowUpHandler(partial(prove, context), record_blocked_proof),
        "provision": FollowUpHandler(partial(provision, context), record_blocked_setup),
        "read": FollowUpHandler(partial(read, context)),
        "disconnect": FollowUpHandler(partial(disconnect, context)),
    }
