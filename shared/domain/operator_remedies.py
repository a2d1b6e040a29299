"""What an operator can do for each reason, and what goes on without anyone: in English, then in
Brazilian Portuguese."""

from typing import Literal

OperatorReason = Literal[
    "app_token_refused", "never_registered", "bad_request", "not_found", "number_deleted",
    "history_declined", "failed", "meta_unavailable", "undecryptable", "never_finished", "orphan",
    "no_token", "redirect_uri_differs",
]  # fmt: skip
NobodyReason = Literal[
    "exchanging", "proving", "awaiting_webhook", "throttled", "token_fetched",
    "subscription_lost", "owner_doubted", "numbers_wait", "register_limited",
]  # fmt: skip

OPERATOR_TEXTS: dict[OperatorReason, tuple[str, str]] = {
    "app_token_refused": (
        "Meta refused our app's own token: check META_APP_ACCESS_TOKEN.",
        "A Meta recusou o token do nosso aplicativo: verifique META_APP_ACCESS_TOKEN.",
    ),
    "never_registered": (
        "The number was never registered: provision again.",
        "O número nunca foi registrado: provisione novamente.",
    ),
    "bad_request": (
        "Meta rejected our request as invalid: see the connection's failed calls.",
        "A Meta rejeitou nossa solicitação como inválida: veja as chamadas com falha da conexão.",
    ),
    "not_found": (
        "Meta does not know the account, or the token may not see it.",
        "A Meta não conhece a conta, ou o token não pode vê-la.",
    ),
    "number_deleted": (
        "The number was deleted at Meta: provision again without it.",
        "O número foi excluído na Meta: provisione novamente sem ele.",
    ),
    "history_declined": (
        "The customer declined to share the chats.",
        "O cliente não aceitou compartilhar as conversas.",
    ),
    "failed": (
        "The last attempt failed by a fault of ours: see the logs, then provision again.",
        "A última tentativa falhou por um erro nosso: veja os logs e provisione novamente.",
    ),
    "meta_unavailable": (
        "Meta repeatedly gave no answer that we understand: see its status page, then request the"
        " blocked work again.",
        "A Meta não deu, repetidas vezes, uma resposta que entendamos: veja a página de status e"
        " peça novamente o trabalho bloqueado.",
    ),
    "undecryptable": (
        "The token cannot be decrypted: check TOKEN_ENCRYPTION_KEYS_PREVIOUS, or have the customer"
        " connect again.",
        "O token não pode ser descriptografado: verifique TOKEN_ENCRYPTION_KEYS_PREVIOUS, ou peça"
        " ao cliente que conecte novamente.",
    ),
    "never_finished": (
        "Each attempt stopped before it finished: see the logs.",
        "Todas as tentativas pararam antes do fim: veja os logs.",
    ),
    "orphan": (
        "No organization owns it: claim it for one, or send a reconnect link.",
        "Nenhuma organização é dona dela: atribua-a a uma, ou envie um link de reconexão.",
    ),
    "no_token": (
        "There is no token: send the organization a link to connect again.",
        "Não há token: envie à organização um link para conectar novamente.",
    ),
    "redirect_uri_differs": (
        "Meta's dialog was opened with another redirect_uri than the code was sent with: send the"
        " same with the code, character by character.",
        "A janela da Meta foi aberta com um redirect_uri diferente do enviado com o código: envie"
        " o mesmo com o código, caractere por caractere.",
    ),
}  # fmt: skip
NOBODY_TEXTS: dict[NobodyReason, tuple[str, str]] = {
    "exchanging": (
        "The login is being exchanged with Meta.",
        "O login está sendo confirmado com a Meta.",
    ),
    "proving": (
        "Meta is being asked what the login is for.",
        "Estamos perguntando à Meta para que é o login.",
    ),
    "awaiting_webhook": (
        "Waiting for Meta's first webhook of this account.",
        "Esperando o primeiro webhook da Meta sobre esta conta.",
    ),
    "throttled": (
        "Meta limits our calls: the work continues by itself.",
        "A Meta limita nossas chamadas: o trabalho continua sozinho.",
    ),
    "token_fetched": (
        "Our access was renewed, and the setup goes on.",
        "Nosso acesso foi renovado, e a configuração continua.",
    ),
    "subscription_lost": (
        "Meta stopped sending us this account's webhooks. We subscribe again.",
        "A Meta parou de nos enviar os webhooks desta conta. Vamos assiná-los novamente.",
    ),
    "owner_doubted": (
        "Meta is being asked whether the account is still shared with us.",
        "Estamos perguntando à Meta se a conta ainda está compartilhada conosco.",
    ),
    "register_limited": (
        "Meta allows ten registrations of a number in 72 hours, and they are used. We try again"
        " when Meta allows it.",
        "A Meta permite dez registros de um número em 72 horas, e eles foram usados. Tentaremos"
        " novamente quando a Meta permitir.",
    ),
    "numbers_wait": (
        "One of the numbers is not ready yet: we try again by ourselves.",
        "Um dos números ainda não está pronto: tentamos novamente sozinhos.",
    ),
}  # fmt: skip
