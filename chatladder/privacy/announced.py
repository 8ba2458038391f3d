"""Secrets and ids that a text itself announces: ``the password is``, ``密码``, ``curl -u admin:``, ``加我v``.

One automaton finds every word that may announce something; that word's rules then read what follows it, or, for a
few, what stands before it. So a word more in any language costs nothing, and time grows with the length of
a text, since no pattern reads further than a few hundred characters.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from chatladder.privacy.tokens import Stretch

#: A character of a password, without spaces and closing marks.
_CHAR = r"[!#-&*+./0-9:=?@A-Z\[\\\]^_a-z{|}~\u00c0-\u052f-]"
_VALUE = rf"(?![:=.?/|]){_CHAR}{{4,256}}"
_QUOTED = r"[\"'`“„「](?P<quoted>[^\"'`”“」<>\n]{1,256})(?=[\"'`”“」])"
#: Brackets and marks that may open before a value; after < comes something with digits, and no placeholder.
_OPEN = r"(?:[\"'`(\[【「『“*]|<(?=[^<>\s]{0,64}\d)){0,2}"
#: What may stand between an announcing word and the value.
_IS = r"is|was|are|will be|should be|must be|c'est|ist|lautet|war|es|est|é|è|era|jest|это|は|を|が|은|는|:"
_CHINESE_IS = (
    r"(?:(?![\u4e00-\u9fff]{0,4}(?:错|不|忘|失败|过期|强度|登|重置|长度|什么))"
    r"[\u4e00-\u9fff]{0,5}?(?:[是为為叫:]|成了?|默认|初始))"
)
_STRONG = (
    r"(?:[ ]?\([^()\n]{1,24}\))?[\"'`*_)\]】」』”]{0,3}[ \t]{0,2}"
    rf"(?:=>|==?|:=?|->|→|>|👉|➡|[—–|]|\.{{2,9}}:|[【“「]|-(?=[ ])|{_CHINESE_IS})[ \t\n*`]{{0,3}}"
)
_WEAK = rf"(?:[ ]?\([^()\n]{{1,24}}\))?[\"'`*]?(?:[ ](?:{_IS})\b:?[ ]?|[ \t]{{0,2}}(?:は|を|が|은|는)[ ]?)"
#: "password for the router is"
_OF = (
    r"(?: (?:for|to|of|on|in|at|für|fürs|zum|zur|im|vom|von|de|del|da|do|di|du|pour|para)"
    r"(?: [^\s:=,.;!?\"'<>]{1,24}){1,4}?(?=[ :=]))?"
)
#: Words that follow "password is" and the like, and no password.
_STATES = (
    r"(?:none|null|true|false|yes|no|str|string|bytes|optional|required|password|passwd|pass|text|wrong|incorrect"
    r"|correct|right|empty|blank|valid|invalid|same|still|also|only|just|always|never|there|here|this|that|these|what"
    r"|where|which|when|your|the|from|with|without|not|needed|safe|secure|insecure|weak|strong|short|long|fine|okay"
    r"|good|bad|unknown|hidden|user|username|login|sudo|case|plain|plaintext|default|falsch|richtig|leer"
    r"|incorrecta|incorrecto|requis|incorrect|md5|sha\d+|bcrypt|base64|utf-?8|ascii|hash|hashes"
    r"|x+|\*+|\.+|[-_=]+"
)
_NO_WORD = re.compile(rf"{_STATES})\??|[%{{\[(].*|\$[A-Za-z_]+|\$[{{(].*|/[a-z].*", re.IGNORECASE | re.DOTALL)
_NO_PASSWORD = re.compile(
    rf"{_STATES}|[a-z]+(?:ed|ing|able|ible|ive|ly)|(?:case|one|two|read|write|user)-[a-z-]+)(?![^.!?,;:)]).*"
    r"|%(?:\w%?\Z|\(|[A-Z_]+%)|[{\[(]|\$(?:[A-Z_]+|[a-z_]+)\Z|\$[{(]|[A-Za-z_]{1,32}\.[a-z_]|/[a-z]|~/|\./|--|https?:|[A-Za-z_.]{1,40}[\[(]",
    re.IGNORECASE | re.DOTALL,
)
_PASSWORD = re.compile(
    rf"(?:\d|'?s)?(?:{_OF}(?:{_STRONG}|{_WEAK}|[ ]?\((?:默认|初始)?)"
    r"|(?P<bare>(?<![a-z])[ \t\n]{0,2}|[ \t\n]{1,2}(?P<to>(?:to|as|zu|en)[ ])?))"
    rf"(?:{_QUOTED}|{_OPEN}(?P<value>{_VALUE}))",
    re.IGNORECASE,
)
_TOKEN = re.compile(
    rf"(?:{_STRONG}|{_WEAK}|(?:[ ]|(?<![A-Za-z]))(?=[A-Za-z0-9_+/=~.-]{{16}})){_OPEN}"
    r"(?=[A-Za-z_+/.=~-]{0,64}[0-9])(?=[0-9_+/.=~-]{0,64}[A-Za-z])(?P<value>[A-Za-z0-9_+/=~.-]{8,512})"
    rf"|(?:{_STRONG})[\"'`](?=[^\"'`\s]{{0,64}}[0-9])(?P<quoted>[^\"'`\s<>]{{8,256}})(?=[\"'`])",
    re.IGNORECASE,
)
#: "the key is ..."
_PLAIN = re.compile(rf"[ ]?:?[ ]?{_OPEN}(?P<value>(?=[A-Za-z0-9]{{8}}){_VALUE})")
_HEADER = re.compile(
    r"[\"']?[ ]?[:=]?[ ]?[\"']?(?:(?:basic|bearer|token|apikey) |(?=[A-Za-z_+/.=~-]{0,64}[0-9]))"
    r"(?P<value>[A-Za-z0-9_+/=~.-]{8,4000})",
    re.IGNORECASE,
)
_BEARER = re.compile(r" (?=[A-Za-z_+/.-]{0,64}[0-9])(?P<value>[A-Za-z0-9_+/=~.-]{12,4000})")
#: A short code of digits, or of letters and digits.
_CODE_VALUE = r"(?:[A-Z]-)?(?:\d{3}[ -]\d{3}|\d{4,10}|(?=[a-z]{0,9}\d)[a-z0-9]{4,10})(?![A-Za-z0-9]|[.:/]\d)"
_CODE = re.compile(
    rf"(?:码|[ -]?code|nummer|s)?(?:{_OF}(?:{_STRONG}|{_WEAK})|[ \t\n]{{0,2}}){_OPEN}(?P<value>{_CODE_VALUE})",
    re.IGNORECASE,
)
_CODE_BEFORE = re.compile(
    rf"(?<![A-Za-z0-9.])(?P<value>{_CODE_VALUE})(?:[ ,]{{0,2}}(?:is|ist|est|es)[ ](?:your|the|dein|ihr|votre|tu|su)"
    r"(?: [\w-]{1,16}){0,3} ?|[ ,]?[\u4e00-\u9fff]{1,6})\Z"
)
#: "the code to the door is 4711", but not the code of an error.
_PLAIN_CODE = re.compile(
    rf"(?:{_OF}[ ]?(?:is|:|ist|lautet|es|est|è|是)[ ]?{_OPEN}(?P<value>\d{{4,8}}#?)|[ ](?P<six>\d{{6}}))"
    r"(?![A-Za-z0-9]|[.:/-]\d)"
)
_NO_CODE = re.compile(
    r"(?:error|exit|status|return|response|zip|postal|area|country|bar|color|colour|source|op|byte|key|char|fehler|http"
    r"|result|scan|machine|reason|event|product|item|order)[ _-]\Z",
    re.IGNORECASE,
)
#: "X is the password", "use X as my wifi password", "it's X for the router password"
_PASSWORD_BEFORE = re.compile(
    rf"(?<![^\s\"'`:(])(?P<value>{_VALUE}?)"
    r"(?:[\"'`]?,? (?:is|as|(?P<for>for)|=|that's|thats|that is)|[ ](?=\((?:wifi|my|router)))"
    r"(?: ?(?:the|my|our|your|its|a|new|old|his|her)\b)?(?:[ (][A-Za-z-]{1,16}){0,2} ?\Z"
)
_USER = r"(?:[A-Za-z0-9_+-]{2,32}|[\w.+-]{1,64}@[\w.-]{1,64})"
_LOGIN = re.compile(
    rf"(?:s|码)?(?P<strong>[ ]?(?:is|are|as|with|using|=|:|是))?[ ]?[\"'`]?(?P<user>{_USER})"
    rf"(?:[ ]/[ ]|[/:|]|[ ]\|[ ]|[ ]and[ ]|(?P<apart>[ ]))[ ]?[\"'`]?(?P<value>{_VALUE})",
    re.IGNORECASE,
)
#: Possessive: of admin:X@host/ nothing is taken here, since X@ is told from the address.
_COLON = re.compile(rf":(?P<value>(?!/)(?:(?![:/]){_CHAR}){{5,64}}+)(?![:/])")
#: A whole message, or with blanks: admin/a paths are many.
_SLASH = re.compile(rf"(?:[ ]/[ ]|(?P<tight>/))(?P<value>(?:(?!/){_CHAR}){{4,64}})(?!/)")
_DIRECT = re.compile(r"(?P<value>(?=[A-Za-z_-]{0,64}[0-9])[A-Za-z0-9_-]{8,512})")
_CARD_CODE = re.compile(r"(?:码|:|=| is|是)?[ :]?(?P<value>\d{3,4})(?![A-Za-z0-9]|[.:/-]\d)", re.IGNORECASE)
_SEED = re.compile(
    r"(?:[ ]?(?:phrase|words?))?[ ]?(?:is|are|:|=|是|为)?[ ]?[\"']?(?P<value>[a-z]{3,8}(?:[ ,]{1,2}[a-z]{3,8}){11,23})"
)
_TAG = re.compile(rf"[ ]{{0,2}}(?:=[ ]?)?(?:{_QUOTED}|(?P<value>{_VALUE}))")
#: Options of programs that take a password, after the program's name.
_OPTION = {
    "user": re.compile(
        rf"[^\n]{{0,200}}?\s(?:-[A-Za-z]{{0,4}}u|--(?:proxy-)?user)[ =]?[\"']?[^\s:\"'/]{{1,64}}:(?P<value>{_VALUE})"
    ),
    "attached": re.compile(rf"[^\n]{{0,200}}?\s-p[\"']?(?P<value>(?=[^\s-]){_VALUE})"),
    "apart": re.compile(rf"[^\n]{{0,200}}?\s-[apwW][ ]?[\"']?(?P<value>(?!-){_VALUE})"),
    "percent": re.compile(rf"[^\n%]{{0,200}}[\w.\\-]%(?P<value>{_VALUE})"),
    "passphrase": re.compile(rf"[ ]*(?:\"[^\"\n]{{1,64}}\"|[^\s\"]{{1,64}})[ ]+[\"']?(?P<value>{_VALUE})"),
}
_PIPED = re.compile(rf"[\"' ](?:[\w.-]{{1,32}}:)?(?P<value>(?:(?![:|]){_CHAR}){{4,128}})[\"']?[ ]?\|[ ]?(?:sudo )?\Z")
_NUMBER_WORD = r"(?:[ ._-]?(?:号码?|群号?|群|number|no|nr|num|nummer|numéro|número|id)\b\.?|号码?|群号?|群)?"
_HANDLE = re.compile(
    r"(?: id| handle| name|号)?[ ]?(?:is[ ]|[:=是][ ]?|(?<=t\.me/))"
    r"(?P<value>@[A-Za-z][\w.-]{3,32}|(?=[A-Za-z_.:-]{0,32}[0-9_])[A-Za-z][\w.:-]{4,32})(?![A-Za-z0-9(])",
    re.ASCII,
)
_SHARE = re.compile(r"[ \t]?(?:[:=]|是|为)?[ \t]?(?P<value>[A-Za-z0-9]{4})(?![A-Za-z0-9])")
_QQ = re.compile(
    rf"{_NUMBER_WORD}[\s:是#=]{{0,3}}(?:is )?{_OPEN}(?P<value>[1-9][0-9]{{4,11}})(?![A-Za-z0-9.])", re.IGNORECASE
)
_WECHAT = re.compile(
    r"(?P<called>号码?|[ _-]?id\b)?[吧呢哈]?(?P<strong>[ ]?(?:[:是=]|叫|is\b)[ ]?)?[ \n]?"
    rf"{_OPEN}"
    r"(?P<value>1[3-9]\d{9}|[A-Za-z][A-Za-z0-9_-]{4,19})(?![A-Za-z0-9_-])",
    re.IGNORECASE,
)
_DOCUMENT = re.compile(
    rf"(?:'s)?{_NUMBER_WORD}[\s:是#=_-]{{0,4}}(?:is |was |ist )?{_OPEN}"
    r"(?P<value>(?=[^\s\d]{0,6}\d)(?:[A-Za-z]{1,4}[ -]?)?\d[\dA-Za-z]{0,20}"
    r"(?:[ ./-]{1,2}[\dA-Za-z]{0,2}\d[\dA-Za-z]{0,8}){0,7})(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_HARDWARE = re.compile(rf"[\s:=是]{{0,3}}{_OPEN}(?P<value>[0-9A-Fa-f]{{12}})(?![A-Za-z0-9])")
_PLATE = re.compile(
    rf"{_NUMBER_WORD}[\s:是#=]{{0,3}}(?:is |ist )?{_OPEN}"
    r"(?P<value>[一-龥]?[A-ZÄÖÜ0-9]{1,7}(?:[ ·-][A-ZÄÖÜ0-9]{1,6}){0,2})(?![A-Za-z0-9])"
)
_PHONE = re.compile(
    rf"{_NUMBER_WORD}[\s:#=._-]{{0,4}}(?:is |ist |at |on |under |unter |es |est |è |是|为)?[ ]?"
    rf"(?:(?!\(\d{{1,5}}\)){_OPEN})?"
    r"(?P<value>\+?\(?\d(?:[ ]?[().\-/]?[ ]?\d){6,14})(?!\d|[A-Za-z](?![\u4e00-\u9fff])|[.:/-]\d)",
    re.IGNORECASE,
)


class _Rule(NamedTuple):
    """A pattern for what a word announces."""

    kind: str
    pattern: re.Pattern[str]
    accepts: Callable[[re.Match[str], str], bool]
    before: bool = False  # the value stands before the word


#: Then "pass" is no verb.
_USER_BEFORE = re.compile(r"user|login|account|name|ftp|admin|root|zip|rar|archive|wifi|wlan|ssh", re.IGNORECASE)


def _any(match: re.Match[str], word: str) -> bool:
    return True


def _is_password(match: re.Match[str], word: str) -> bool:
    """Return whether the value is no word of a sentence: it looks like none, or nothing follows it."""
    value = match["quoted"] or match["value"]
    text, start = match.string, match.start()
    bare = match["bare"] is not None
    between = match[0][: match.start("value" if match["value"] else "quoted") - start]
    if value.rstrip(":,").lower().endswith(word) and value.replace("_", "").isalpha():
        return False  # password=password
    if match["quoted"] is not None and not bare:
        return not _NO_WORD.fullmatch(value)
    if _NO_PASSWORD.match(value):
        return False
    # --password X
    option = text[max(0, start - len(word) - 12) : start - len(word)].rpartition(" ")[2].startswith("--")
    if word == "pass" and bare and not option:
        return _looks_made_up(value) and _USER_BEFORE.search(text, max(0, start - 40), start) is not None
    if _looks_made_up(value):
        return True
    if value.isdigit():
        return not bare or match["to"] is not None or not word.isascii() or len(value) >= 6
    if match["to"] or "==" in between or " -" in between or "|" in between:
        return False
    if match["quoted"] is not None or between.endswith("=") or (option and text[match.end() :].startswith(" -")):
        return True
    ends = not text[match.end() : match.end() + 80].strip(" \t\n.!?)\"'`。！？，、")
    return ends and "(" not in between and (option or not bare or not word.isascii())


def _looks_made_up(value: str) -> bool:
    """Return whether it has digits among letters, or signs inside."""
    bare = value.strip(".,;:!?()[]{}*")
    letters = any(map(str.isalpha, bare))
    digits = any(map(str.isdigit, bare))
    signs = re.search(r"[^\w.'’/-]|\w[@#$%&*+=~^!]\w", bare) is not None
    return (letters and (digits or signs)) or (digits and signs)


def _is_before(match: re.Match[str], word: str) -> bool:
    value = match["value"]
    return (_looks_made_up(value) or (value.isdigit() and match["for"] is None)) and not _NO_PASSWORD.match(value)


def _is_login(match: re.Match[str], word: str) -> bool:
    value = match["value"]
    if "apart" in match.re.groupindex and match["apart"] and (match["strong"] or "").strip() not in (":", "=", "是"):
        return False
    return (_looks_made_up(value) or (value.isdigit() and len(value) >= 4)) and not _NO_PASSWORD.match(value)


def _is_code(match: re.Match[str], word: str) -> bool:
    """Return whether the value is a code: "pin int64" is none, "PIN: a1b2" is."""
    between = match[0][: match.start("value") - match.start()]
    return (
        not word.isascii()
        or not match["value"].isalnum()
        or match["value"].isdigit()
        or between.strip() not in ("", "s")
    )


def _is_plain_code(match: re.Match[str], word: str) -> bool:
    start = match.start() - len(word)
    return _NO_CODE.search(match.string, max(0, start - 12), start) is None


def _is_attached(match: re.Match[str], word: str) -> bool:
    return _looks_made_up(match["value"]) or match["value"].isdigit() or " -u" in match[0]


def _is_slash(match: re.Match[str], word: str) -> bool:
    whole = match.start() == len(word) and match.end() == len(match.string)
    return (whole or match["tight"] is None) and _is_login(match, word)


def _is_wechat(match: re.Match[str], word: str) -> bool:
    value = match["value"]
    between = match[0][: match.start("value") - match.start()]
    attached = not between.strip("\"'`([【「『“*") and not word.endswith(":")
    if attached and word.isascii() and (word != "vx" or match.string.isascii()):
        return False
    if value[0].isdigit() or any(map(str.isdigit, value)) or "_" in value:
        return bool(match["strong"] or match["called"]) or not word.isascii() or word in _SHORT_WECHAT
    if len(value) < 6 or not (
        match["called"] or match["strong"] or "v" in word[1:] or (word in _SHORT_WECHAT and not attached)
    ):
        return False
    # A word of a sentence is followed by another one.
    return not re.match(r"[ ]?[A-Za-z.(]|[ ]\d", match.string[match.end() : match.end() + 3])


def _is_document(match: re.Match[str], word: str) -> bool:
    value = match["value"]
    digits = sum(map(str.isdigit, value))
    # Some countries mix letters in: C01X00T47
    return digits >= 5 or (digits >= 2 and len(value) >= 8 and value.isalnum() and value.isupper())


def _is_plate(match: re.Match[str], word: str) -> bool:
    value = match["value"]
    return len(value) >= 5 and any(map(str.isdigit, value)) and not value.isdigit()


def _is_phone(match: re.Match[str], word: str) -> bool:
    value = match["value"]
    return re.fullmatch(r"(?:\d{1,3}\.){3}\d{1,3}|(?:19|20)\d\d[-./ ]\d\d?[-./ ]\d\d?.*", value) is None


_SHORT_WECHAT = ("vx", "wx", "+v", "v:")
_RULES = {
    "password": _Rule("key", _PASSWORD, _is_password),
    "before": _Rule("key", _PASSWORD_BEFORE, _is_before, before=True),
    "token": _Rule("key", _TOKEN, _any),
    "plain": _Rule("key", _PLAIN, _is_login),
    "header": _Rule("key", _HEADER, _any),
    "bearer": _Rule("key", _BEARER, _any),
    "code": _Rule("key", _CODE, _is_code),
    "code before": _Rule("key", _CODE_BEFORE, _any, before=True),
    "plain code": _Rule("key", _PLAIN_CODE, _is_plain_code),
    "handle": _Rule("id", _HANDLE, _any),
    "share": _Rule("key", _SHARE, _any),
    "login": _Rule("key", _LOGIN, _is_login),
    "colon": _Rule("key", _COLON, _is_login),
    "slash": _Rule("key", _SLASH, _is_slash),
    "direct": _Rule("key", _DIRECT, _any),
    "card code": _Rule("key", _CARD_CODE, _any),
    "seed": _Rule("key", _SEED, _any),
    "piped": _Rule("key", _PIPED, _any, before=True),
    "tag": _Rule("key", _TAG, _any),
    **{f"option {name}": _Rule("key", pattern, _any) for name, pattern in _OPTION.items()},
    "option attached": _Rule("key", _OPTION["attached"], _is_attached),
    "qq": _Rule("id", _QQ, _any),
    "wechat": _Rule("id", _WECHAT, _is_wechat),
    "document": _Rule("id", _DOCUMENT, _is_document),
    "hardware": _Rule("id", _HARDWARE, _any),
    "plate": _Rule("id", _PLATE, _is_plate),
    "phone": _Rule("phone", _PHONE, _is_phone),
}
#: Words in lower case by the rule for what they announce. Before one with a leading ^ stands no letter.
_WORDS = {
    "password": """
        p/w | pass word | 解压码 | password | passwd | passphrase | ^pass | ^pwd | mysql_pwd | ^pw | ^psk | passwort
        kennwort | zugangscode | wlan-schlüssel | wlan-key | contraseña | contrasena | ^clave | mot de passe | ^mdp
        senha | palavra-passe | wachtwoord | hasło | ^haslo | heslo | lösenord | adgangskode | salasana | jelszó | şifre
        parola | пароль | пароля | κωδικός | パスワード | 暗証番号 | 비밀번호 | 암호 | 密码 | 密碼 | 口令 | 暗号
        ^passcode | wifi key | wpa key | network key | wpa psk | ^creds | credentials | wep key | wifi code
    """,
    "before": "password | passwd | passphrase | ^pwd | ^pw | passwort | kennwort",
    "token": """
        secret | secret key | secret access key | secret_key | secret_access_key | secret-key | secretkey
        accesskey | api key | api_key | api-key | apikey | app key | app_key | appkey | access key | access_key
        access-key | access key id | access_key_id | accesskeyid | access-key-id | token | private key
        private_key | private-key | client_secret | app_secret | appsecret | auth_key | credential | sessionid
        session_id | jsessionid | phpsessid | csrftoken | cdkey | cd-key | cd key | serial | license key
        licence key | product key | serial key | recovery key | encryption key | signing key | account key
        accountkey | 密钥 | 秘钥 | 密匙 | 令牌 | 激活码 | 注册码 | 序列号 | 授权码 | ключ api | api-schlüssel
        clave api | clé api
    """,
    "plain": "the key is | key is | key是 | key:",
    "header": """
        authorization: | authorization": | authorization': | authorization=
    """,
    "bearer": "bearer",
    "code": """
        passcode | ^pin | pin码 | 验证码 | 驗證碼 | 校验码 | 动态码 | 门禁 | 门锁 | 动态密码 | 短信码 | 取货码 | 邀请码
        确认码 | 安全码 | 识别码 | verification code | security code | confirmation code | auth code
        authentication code | login code | access code | door code | gate code | alarm code | unlock code
        lock code | safe code | ^g- | entry code | one-time code | one time code | sms code | 2fa code
        mfa code | backup code | ^otp | ^2fa | ^puk | code pin | bestätigungscode | sicherheitscode
        code de vérification | código de verificación | código de seguridad | código de verificação
        код подтверждения | код из смс | 認証コード | 確認コード | 인증번호 | 密码 | 密碼
    """,
    "hardware": "hwaddr | mac address | mac地址 | ^mac",
    "share": "提取码 | 访问码 | 取件码",
    "code before": "code | passcode | ^otp | ^pin | 验证码 | 校验码 | 动态码",
    "plain code": "^código | ^codigo | ^codice | ^code | alarm code | unlock code | safe code",
    "login": """
        wifi: | wi-fi: | wlan: | ssid: | login | log-in | credentials | creds | user/pass | user/password
        username/password | 账号密码 | 帐号密码 | 用户名密码 | 账号/密码 | 用户名/密码 | 账密 | zugangsdaten
        zugang | identifiants | credenciales
    """,
    "colon": "^root | ^admin | ^administrator",
    "slash": "^root | ^admin",
    "direct": "?key= | &key= | ?code= | &code= | ?token= | /hook/ | /hooks/ | ?sig= | &sig=",
    "card code": "^cvv | ^cvc | ^cvv2",
    "seed": "seed | mnemonic | recovery phrase | recovery words | 助记词 | backup phrase",
    "piped": "chpasswd | sudo -s | docker login",
    "tag": "sudo -s <<< | identified by | requirepass | masterauth | -passin pass: | -passout pass:",
    "option user": "curl | wget",
    "option attached": "mysql | mariadb",
    "option apart": """
        sshpass | redis-cli | docker login | podman login | ldapsearch | mongo | htpasswd | sqlcmd | plink
        cqlsh | nmcli
    """,
    "option percent": "smbclient | rpcclient | smbmap | mount.cifs | net rpc",
    "option passphrase": "wpa_passphrase | /user:",
    "qq": "qq | 扣扣 | 加扣 | 球球 | 企鹅 | q号 | q群 | 群号 | 加q",
    "wechat": """
        微信 | 威信 | 薇信 | 徽信 | v信 | 加v | 加我v | 加你v | 我的v | 加下v | 加个v | 加微 | 加薇 | ➕v | ^v: | ^+v
        ^vx | ^wx | weixin | wechat
    """,
    "handle": """
        t.me/ | skype | telegram | ^tg | line id | discord | instagram | snapchat | kakaotalk | kakao | steam id
        ^psn
    """,
    "document": """
        ^vin | passport | reisepass | pasaporte | passeport | 护照 | 通行证 | 台胞证 | 回乡证 | 居住证 | 身份证
        驾照 | 驾驶证 | 社保 | 护照号 | driver's license | drivers license | driving licence | driver license
        driver's licence | id card | personalausweis | ausweis | imei | ^ssn | social security
        national insurance | ^nino | aadhaar | ^pan card | ^cpf | ^dni | pesel | ^bsn | codice fiscale
        personnummer | steuer-id | steuernummer | tax id | insurance number | medicare | account number
        账号 | 帐号 | 账户 | bank account | kontonummer | 银行卡 | 卡号 | 账户号 | 银行账号 | 支付宝 | meeting id
        zoom id | 会议号
        腾讯会议 | 学号 | 工号 | 员工号 | iban | sort code | routing number
    """,
    "plate": """
        ^plate | license plate | licence plate | number plate | plate number | numberplate | kennzeichen | 车牌
        车牌号 | matrícula | immatriculation | nummernschild
    """,
    "phone": """
        ^tel | ^phone | telephone | telefon | téléphone | teléfono | telefono | mobile | ^cell | whatsapp | ^handy
        rufnummer | ^fax | ^sms | my number | meine nummer | mi número | mon numéro | reach me | call me
        text me | ring me | phone me | 电话 | 電話 | 手机 | 手機 | 座机 | 联系方式 | 联系我 | 拨打 | 致电 | 打给
        热线 | тел | телефон | 전화 | 携帯
    """,
}
#: The digits after the first ones of a number that was written with spaces.
_MORE_DIGITS = re.compile(r"(?:[ -]\d{3,7}){1,4}(?!\d)")
#: Characters in which a value stands before its word.
_LONGEST_BEFORE = 120
#: Of a longer word.
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")


def _automaton() -> Any:
    import ahocorasick

    rules: dict[str, list[tuple[_Rule, bool]]] = {}
    for name, words in _WORDS.items():
        for word in re.split(r" \| |\n\s*", words.strip()):
            rules.setdefault(word.removeprefix("^"), []).append((_RULES[name], word.startswith("^")))
    automaton = ahocorasick.Automaton()
    for word, its_rules in rules.items():
        automaton.add_word(word, (word, its_rules))
    automaton.make_automaton()
    return automaton


_AUTOMATON = _automaton()


def find_announced(text: str) -> list[Stretch]:
    """Find what a text in half width announces."""
    lower = text.lower()
    if len(lower) != len(text):
        lower = "".join(small if len(small := each.lower()) == 1 else each for each in text)
    stretches: list[Stretch] = []
    for last, (word, rules) in _AUTOMATON.iter(lower):
        end = last + 1
        start = end - len(word)
        in_word = start > 0 and lower[start - 1] in _LETTERS
        for rule, starts_word in rules:
            if not (starts_word and in_word) and not (rule.before and lower[end : end + 1] in _LETTERS):
                stretches += _find_value(text, start, end, word, rule)
    return stretches


def _find_value(text: str, start: int, end: int, word: str, rule: _Rule) -> Iterator[Stretch]:
    moved = max(0, start - _LONGEST_BEFORE) if rule.before else 0
    match = rule.pattern.search(text[moved:start]) if rule.before else rule.pattern.match(text, end)
    if match is None or not rule.accepts(match, word):
        return
    group = next(name for name in ("value", "quoted", "six") if match.groupdict().get(name) is not None)
    first, behind = match.span(group)
    if rule.kind == "key" and match[group].isdigit() and not rule.before:
        # A number with spaces in it goes as a whole.
        longer = _MORE_DIGITS.match(text, behind)
        behind = longer.end() if longer else behind
    yield first + moved, behind + moved, rule.kind
