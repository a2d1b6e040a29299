"""The dialog's pages: plain HTML. Every value in it is escaped."""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from deploy.local.simulated_meta.signups import Finish, possible_finishes
from deploy.local.simulated_meta.world import Waba

LABEL = "Simulated Meta: not the real thing"
_BUTTONS: dict[Finish, str] = {
    "FINISH": "Finish with a number",
    "FINISH_ONLY_WABA": "Finish with the WABA only",
    "FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING": "Finish as WhatsApp Business app user",
}
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 34rem; padding: 1rem;
  color: #1c2b33; background: #f5f6f7; }
.label { background: #fff3cd; border: 1px solid #d9b44a; border-radius: 6px; padding: .4rem .8rem; }
fieldset { background: #fff; border: 1px solid #ccd0d5; border-radius: 6px; margin: 0 0 1rem; }
button { font: inherit; margin: .3rem .3rem .3rem 0; padding: .4rem .8rem; border-radius: 6px;
  border: 1px solid #0a66c2; background: #0a66c2; color: #fff; cursor: pointer; }
button.quiet { background: #fff; color: #1c2b33; border-color: #8d949e; }
"""


def choice(wabas: Iterable[Waba], params: Mapping[str, str]) -> str:
    """Return a page with each WABA and the ways its signup can end.

    The browser sends `params` back with the choice.
    """
    hidden_fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in params.items()
    )
    offered = list(wabas)
    forms = "".join(_waba_form(waba, offered, hidden_fields) for waba in offered) or (
        "<p>There is no WABA yet. Create one with <code>PUT /simulator/wabas/{id}</code>.</p>"
    )
    return _page(
        "Connect a WhatsApp Business account",
        f'{forms}<form method="post">{hidden_fields}'
        '<button class="quiet" name="event" value="CANCEL">Cancel</button></form>',
    )


def outcome(message: Mapping[str, Any], code: str | None, origin: str) -> str:
    """Return a page that sends the choice to its opener and closes.

    As at Meta, any origin receives the message, but only `origin` receives the code.
    """
    # "<" is escaped: a browser could take it for the end of the script.
    data = json.dumps({"message": json.dumps(message), "code": code, "origin": origin})
    data = data.replace("<", "\\u003c")
    return _page(
        "Done",
        f"""<p>You may close this window.</p>
<script type="application/json" id="outcome">{data}</script>
<script>
const choice = JSON.parse(document.getElementById("outcome").textContent);
if (window.opener) {{
  window.opener.postMessage(choice.message, "*");
  window.opener.postMessage({{ type: "simulated_meta_login", code: choice.code }}, choice.origin);
}}
window.close();
</script>""",
    )


def refusal(reason: str) -> str:
    return _page("This dialog cannot be shown", f"<p>{escape(reason)}</p>")


def _waba_form(waba: Waba, offered: Sequence[Waba], hidden_fields: str) -> str:
    numbers = ", ".join(
        f"{number.display} (WhatsApp Business app)" if number.is_on_biz_app else number.display
        for number in waba.numbers
    )
    buttons = "".join(
        f'<button name="event" value="{end}">{_BUTTONS[end]}</button>'
        for end in possible_finishes(waba)
    )
    others = "".join(
        f'<label><input type="checkbox" name="also" value="{escape(other.waba_id)}">'
        f" and {escape(other.name)}</label><br>"
        for other in offered
        if other is not waba
    )
    return (
        f'<form method="post"><fieldset><legend>{escape(waba.name)}</legend>{hidden_fields}'
        f'<input type="hidden" name="waba_id" value="{escape(waba.waba_id)}">'
        f"<p>WABA {escape(waba.waba_id)}, business {escape(waba.business_id)}<br>"
        f"Numbers: {escape(numbers) or 'none'}</p><p>{others}</p>{buttons}</fieldset></form>"
    )


def _page(title: str, content: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><link rel="icon" href="data:,"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>
<body><p class="label">{LABEL}</p><h1>{title}</h1>{content}</body>
</html>
"""
