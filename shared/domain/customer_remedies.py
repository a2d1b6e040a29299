"""What a customer reads, and may do, for each reason: in English, then in Brazilian Portuguese."""

from typing import Literal

CustomerReason = Literal[
    "reconnect", "checkpoint", "policy_block", "account_locked", "country_restricted",
    "payment_missing", "not_registered", "pin_needed", "pin_wrong", "pin_limited", "pin_or_lock",
    "not_verified", "name_under_review", "no_number", "number_elsewhere", "number_banned",
    "not_on_app", "sync_late", "wrong_app",
    "token_invalid", "permission_missing", "waba_not_granted", "session_needed",
    "waba_choice_needed",
    "code_refused", "code_lost", "code_missing", "cancelled", "error_reported", "link_closed",
    "expired", "owned_by_another", "unshared", "uninstalled", "offboarded", "account_disconnected",
    "disconnected_by_us", "banned", "ban_scheduled", "deleted", "unreachable", "token_revoked",
    "token_expired", "token_expiring", "data_access_ended", "scope_missing", "target_missing",
]  # fmt: skip

CUSTOMER_TEXTS: dict[CustomerReason, tuple[str, str]] = {
    "reconnect": (
        "Connect your WhatsApp Business account again: Meta no longer accepts our access.",
        "Conecte novamente sua conta do WhatsApp Business: a Meta não aceita mais nosso acesso.",
    ),
    "checkpoint": (
        "Log in to Facebook and finish what it asks of you, then connect again.",
        "Entre no Facebook e conclua o que ele pedir; depois, conecte novamente.",
    ),
    "policy_block": (
        "Meta has restricted your account. Open Account Quality in Meta Business Suite and follow"
        " what it says.",
        "A Meta restringiu sua conta. Abra a Qualidade da conta no Meta Business Suite e siga as"
        " instruções.",
    ),
    "account_locked": (
        "Meta has locked your account. Open Account Quality in Meta Business Suite.",
        "A Meta bloqueou sua conta. Abra a Qualidade da conta no Meta Business Suite.",
    ),
    "country_restricted": (
        "Meta does not allow messages from your country with this account.",
        "A Meta não permite mensagens do seu país com esta conta.",
    ),
    "payment_missing": (
        "Add a payment method to your WhatsApp Business account in Meta Business Suite.",
        "Adicione uma forma de pagamento à sua conta do WhatsApp Business no Meta Business Suite.",
    ),
    "not_registered": (
        "Your number is not registered with WhatsApp: connect it again.",
        "Seu número não está registrado no WhatsApp: conecte-o novamente.",
    ),
    "pin_needed": (
        "Your number has a two-step verification PIN. Tell it to us, or turn two-step verification"
        " off in WhatsApp Manager.",
        "Seu número tem um PIN da confirmação em duas etapas. Informe-o, ou desative a confirmação"
        " em duas etapas no Gerenciador do WhatsApp.",
    ),
    "pin_wrong": (
        "The two-step verification PIN was not right. Try again, or turn two-step verification off"
        " in WhatsApp Manager.",
        "O PIN da confirmação em duas etapas não está correto. Tente novamente, ou desative a"
        " confirmação em duas etapas no Gerenciador do WhatsApp.",
    ),
    "pin_limited": (
        "Too many wrong PINs. Wait three days, or turn two-step verification off in WhatsApp"
        " Manager and write to us.",
        "Muitos PINs incorretos. Espere três dias, ou desative a confirmação em duas etapas no"
        " Gerenciador do WhatsApp e escreva para nós.",
    ),
    "pin_or_lock": (
        "Meta did not register your number: it has another two-step verification PIN, or your"
        " account is locked. Tell us the PIN; if Account Quality in Meta Business Suite shows a"
        " lock, follow what it says.",
        "A Meta não registrou seu número: ele tem outro PIN da confirmação em duas etapas, ou sua"
        " conta está bloqueada. Informe o PIN; se a Qualidade da conta no Meta Business Suite"
        " mostrar um bloqueio, siga as instruções.",
    ),
    "not_verified": (
        "Verify your number in WhatsApp Manager. We go on as soon as Meta tells us.",
        "Confirme seu número no Gerenciador do WhatsApp. Continuamos assim que a Meta nos avisar.",
    ),
    "name_under_review": (
        "Meta reviews the display name of your number. We go on when it is approved; if it is"
        " declined, choose another name in WhatsApp Manager.",
        "A Meta está analisando o nome de exibição do seu número. Continuamos quando for aprovado;"
        " se for recusado, escolha outro nome no Gerenciador do WhatsApp.",
    ),
    "no_number": (
        "The account has no phone number. Add one in WhatsApp Manager, then connect again.",
        "A conta não tem número de telefone. Adicione um no Gerenciador do WhatsApp e conecte"
        " novamente.",
    ),
    "number_elsewhere": (
        "Your number is connected by another way than us. Connect again, and choose this number.",
        "Seu número está conectado por outro meio. Conecte novamente e escolha este número.",
    ),
    "number_banned": (
        "Meta has banned the number. Ask for a review in Account Quality.",
        "A Meta baniu o número. Peça uma análise na Qualidade da conta.",
    ),
    "not_on_app": (
        "Meta connected your number without the WhatsApp Business app. Start again, and choose to"
        " connect the app you have; or ask us to connect the number without it.",
        "A Meta conectou seu número sem o aplicativo WhatsApp Business. Comece novamente e escolha"
        " conectar o aplicativo que você usa; ou peça para conectarmos o número sem ele.",
    ),
    "sync_late": (
        "Chats can only be shared within 24 hours of connecting. Disconnect us in the WhatsApp"
        " Business app, then connect again.",
        "As conversas só podem ser compartilhadas em até 24 horas após a conexão. Desconecte-nos"
        " no aplicativo WhatsApp Business e conecte novamente.",
    ),
    "wrong_app": (
        "The login was for another application: start again from our page.",
        "O login foi feito para outro aplicativo: comece novamente pela nossa página.",
    ),
    "token_invalid": (
        "The login is no longer valid: start again.",
        "O login não é mais válido: comece novamente.",
    ),
    "permission_missing": (
        "Start again, and leave all permissions that Meta asks for switched on.",
        "Comece novamente e mantenha ativadas todas as permissões que a Meta pedir.",
    ),
    "waba_not_granted": (
        "Start again, and choose the WhatsApp Business account to connect.",
        "Comece novamente e escolha a conta do WhatsApp Business que deseja conectar.",
    ),
    "session_needed": (
        "Your browser did not report which account you chose: try again.",
        "Seu navegador não informou qual conta você escolheu: tente novamente.",
    ),
    "waba_choice_needed": (
        "You shared several WhatsApp Business accounts: choose the one to connect.",
        "Você compartilhou várias contas do WhatsApp Business: escolha a que deseja conectar.",
    ),
    "code_refused": (
        "The login expired or was used before: start again.",
        "O login expirou ou já foi usado: comece novamente.",
    ),
    "code_lost": (
        "The login was interrupted: start again.",
        "O login foi interrompido: comece novamente.",
    ),
    "code_missing": (
        "Meta's window closed before the login was complete: start again.",
        "A janela da Meta foi fechada antes de o login terminar: comece novamente.",
    ),
    "cancelled": (
        "The dialog was closed: start again when you are ready.",
        "A janela foi fechada: comece novamente quando quiser.",
    ),
    "error_reported": (
        "Meta's dialog reported an error: try again, or write to Meta's support.",
        "A janela da Meta informou um erro: tente novamente ou escreva para o suporte da Meta.",
    ),
    "link_closed": (
        "This link was closed: ask for a new one.",
        "Este link foi encerrado: peça um novo.",
    ),
    "expired": (
        "This link has expired: ask for a new one.",
        "Este link expirou: peça um novo.",
    ),
    "owned_by_another": (
        "This WhatsApp Business account is connected by another organization. It must be"
        " disconnected there first.",
        "Esta conta do WhatsApp Business está conectada por outra organização. Ela precisa ser"
        " desconectada lá primeiro.",
    ),
    "unshared": (
        "You removed our access to the account. Connect it again.",
        "Você removeu nosso acesso à conta. Conecte-a novamente.",
    ),
    "uninstalled": (
        "You removed our app. Connect the account again.",
        "Você removeu nosso aplicativo. Conecte a conta novamente.",
    ),
    "offboarded": (
        "The WhatsApp Business app moved to another phone. Connect it again.",
        "O aplicativo WhatsApp Business mudou de aparelho. Conecte-o novamente.",
    ),
    "account_disconnected": (
        "The WhatsApp Business app was disconnected from us. Connect it again.",
        "O aplicativo WhatsApp Business foi desconectado de nós. Conecte-o novamente.",
    ),
    "disconnected_by_us": (
        "The account was disconnected. Connect it again to use it.",
        "A conta foi desconectada. Conecte-a novamente para usá-la.",
    ),
    "banned": (
        "Meta has disabled the account. Ask for a review in Account Quality.",
        "A Meta desativou a conta. Peça uma análise na Qualidade da conta.",
    ),
    "ban_scheduled": (
        "Meta will disable the account. Ask for a review in Account Quality.",
        "A Meta vai desativar a conta. Peça uma análise na Qualidade da conta.",
    ),
    "deleted": (
        "The account was deleted at Meta.",
        "A conta foi excluída na Meta.",
    ),
    "unreachable": (
        "Meta no longer lets us reach the account. Connect it again.",
        "A Meta não nos deixa mais acessar a conta. Conecte-a novamente.",
    ),
    "token_revoked": (
        "Our access to the account was withdrawn. Connect it again.",
        "Nosso acesso à conta foi retirado. Conecte-a novamente.",
    ),
    "token_expired": (
        "Our access to the account has expired. Connect it again.",
        "Nosso acesso à conta expirou. Conecte-a novamente.",
    ),
    "token_expiring": (
        "Our access to the account expires soon. We renew it where Meta allows it; to be sure,"
        " connect the account again.",
        "Nosso acesso à conta expira em breve. Nós o renovamos quando a Meta permite; para"
        " garantir, conecte a conta novamente.",
    ),
    "data_access_ended": (
        "Meta asks that you confirm our access to your data. Connect the account again.",
        "A Meta pede que você confirme nosso acesso aos seus dados. Conecte a conta novamente.",
    ),
    "scope_missing": (
        "A permission that we need was withdrawn. Connect the account again, and leave all"
        " permissions that Meta asks for switched on.",
        "Uma permissão de que precisamos foi retirada. Conecte a conta novamente e mantenha"
        " ativadas todas as permissões que a Meta pedir.",
    ),
    "target_missing": (
        "Our access no longer includes this account. Connect it again, and choose it in Meta's"
        " dialog.",
        "Nosso acesso não inclui mais esta conta. Conecte-a novamente e escolha-a na janela da"
        " Meta.",
    ),
}  # fmt: skip
