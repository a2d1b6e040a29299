"""What the page says, in the customer's language."""

from collections.abc import Mapping

from aiohttp import web

from shared.domain.remedies import Language

#: `{organization}` is the name of who asks.
_ENGLISH = {
    "title": "Connect WhatsApp",
    "heading": "Connect your WhatsApp Business account to {organization}",
    "done_heading": "Your WhatsApp Business account is connected to {organization}",
    "intro": "You log in at Meta, in Meta's own window, and choose the account. We never see your"
    " password.",
    "progress": "Progress",
    "step_login": "Log in at Meta and choose the account",
    "step_prove": "Meta confirms the account",
    "step_setup": "The account is set up",
    "start": "Connect",
    "ask_heading": "Do you know {organization}?",
    "ask_text": "{organization} will be able to read and send the messages of the account you"
    " choose, and to change its settings. Continue only if you expected this.",
    "go": "Continue at Meta",
    "not_now": "Not now",
    "waiting": "Meta's window is open: finish there.",
    "blocked": "Your browser did not open Meta's window.",
    "no_window": "No window to be seen?",
    "instead": "Continue in this window",
    "choice": "Which account do you want to connect?",
    "choose": "Connect this account",
    "pin_of": "The six-digit PIN of {number}. Tries left: {tries}.",
    "six_digits": "Six digits",
    "checking_pin": "The PIN is being checked with Meta.",
    "send": "Send",
    "done": "Your account is connected.",
    "close": "You can close this page.",
    "back": "Back to {organization}",
    "next_try": "Next try: {time}.",
    "our_fault": "Something is not right at our side. We have been told, and will see to it.",
    "new_link": "Ask {organization} for a new link when you are ready.",
    "moved": "The account is connected by this link no more.",
    "too_many_tries": "There were too many tries with this link.",
    "failed": "That did not work.",
    "unreachable": "We could not be reached.",
    "reload": "Load the page again",
    "no_script": "This page needs JavaScript to open Meta's window. Allow it, or open the link in"
    " another browser.",
    "no_link_heading": "This link leads nowhere",
    "no_link": "Perhaps a part of it is missing. Open it once more from where you got it, or ask"
    " for a new one.",
    "other_browser_heading": "You came back in another browser",
    "other_browser": "Nothing was connected: the login at Meta was not begun in this browser. Open"
    " the link you were sent in this browser, and continue from there. If nobody sent you one,"
    " close this page.",
    "limited_heading": "One moment, please",
    "limited": "Too many requests came from your network. Wait a minute, then try again.",
    "away_heading": "We will be right back",
    "away": "The page cannot be shown just now. Nothing of what you did is lost.",
    "try_again": "Try again",
}
_PORTUGUESE = {
    "title": "Conectar o WhatsApp",
    "heading": "Conecte sua conta do WhatsApp Business a {organization}",
    "done_heading": "Sua conta do WhatsApp Business está conectada a {organization}",
    "intro": "Você entra na Meta, na janela da própria Meta, e escolhe a conta. Nunca vemos sua"
    " senha.",
    "progress": "Andamento",
    "step_login": "Entrar na Meta e escolher a conta",
    "step_prove": "A Meta confirma a conta",
    "step_setup": "A conta é configurada",
    "start": "Conectar",
    "ask_heading": "Você conhece {organization}?",
    "ask_text": "{organization} poderá ler e enviar as mensagens da conta que você escolher e"
    " alterar as configurações dela. Continue apenas se você esperava por isto.",
    "go": "Continuar na Meta",
    "not_now": "Agora não",
    "waiting": "A janela da Meta está aberta: conclua por lá.",
    "blocked": "Seu navegador não abriu a janela da Meta.",
    "no_window": "Nenhuma janela apareceu?",
    "instead": "Continuar nesta janela",
    "choice": "Qual conta você quer conectar?",
    "choose": "Conectar esta conta",
    "pin_of": "O PIN de seis dígitos de {number}. Tentativas restantes: {tries}.",
    "six_digits": "Seis dígitos",
    "checking_pin": "O PIN está sendo verificado com a Meta.",
    "send": "Enviar",
    "done": "Sua conta está conectada.",
    "close": "Você já pode fechar esta página.",
    "back": "Voltar para {organization}",
    "next_try": "Próxima tentativa: {time}.",
    "our_fault": "Algo não está certo do nosso lado. Já fomos avisados e vamos resolver.",
    "new_link": "Peça um novo link a {organization} quando quiser.",
    "moved": "A conta não está mais conectada por este link.",
    "too_many_tries": "Houve tentativas demais com este link.",
    "failed": "Não funcionou.",
    "unreachable": "Não foi possível falar conosco.",
    "reload": "Carregar a página novamente",
    "no_script": "Esta página precisa de JavaScript para abrir a janela da Meta. Permita-o, ou abra"
    " o link em outro navegador.",
    "no_link_heading": "Este link não leva a lugar nenhum",
    "no_link": "Talvez falte uma parte dele. Abra-o de novo no lugar onde o recebeu, ou peça um"
    " novo.",
    "other_browser_heading": "Você voltou em outro navegador",
    "other_browser": "Nada foi conectado: o login na Meta não começou neste navegador. Abra neste"
    " navegador o link que você recebeu e continue por ele. Se ninguém lhe enviou um link, feche"
    " esta página.",
    "limited_heading": "Um momento, por favor",
    "limited": "Chegaram solicitações demais da sua rede. Espere um minuto e tente novamente.",
    "away_heading": "Voltamos já",
    "away": "A página não pode ser mostrada agora. Nada do que você fez se perdeu.",
    "try_again": "Tentar novamente",
}
WORDS: Mapping[Language, Mapping[str, str]] = {"en": _ENGLISH, "pt-BR": _PORTUGUESE}


def language_of(request: web.Request) -> Language:
    """Return which of our languages the browser likes best (RFC 9110, 12.5.4). English, if none."""
    best: tuple[float, Language] = (0.0, "en")
    for part in request.headers.get("Accept-Language", "").split(","):
        name, _, weight = part.strip().lower().partition(";q=")
        known: Mapping[str, Language] = {"en": "en", "pt": "pt-BR"}
        language = known.get(name.partition("-")[0].strip())
        if language is None:
            continue
        try:
            quality = float(weight or 1)
        except ValueError:
            continue
        if quality > best[0]:
            best = quality, language
    return best[1]


def words_for(language: Language, organization: str) -> dict[str, str]:
    """Return the words. `{time}`, `{number}` and `{tries}` are left for the page."""
    return {
        name: text.replace("{organization}", organization) for name, text in WORDS[language].items()
    }
