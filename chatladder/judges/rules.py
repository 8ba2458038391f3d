r"""A judge made of rules, for Chinese, English and the mix of both: is this text a real question with a topic?

Each sentence is scored separately; a turn's score is that of its best sentence. A sentence that does not ask scores 0.
One that asks starts from how plainly it does, and loses points for what is missing:

- how it asks: an interrogative with a mark 10, an interrogative or a call for help 9, a weak interrogative (the Chinese
  "what" and "who" also mean "something" and "someone") 7, only a mark 7;
- what it asks about: a greeting with a mark is about nothing (-6); "how is this installed?" names one thing where a
  complete question names three (-3). It still passes without its subject or its object: such questions are what this
  project studies;
- whom it asks: a rhetorical or reported question asks nobody (-6), nor does an echo or a guess with a mark, nor an
  interrogative in an exclamation; "?!" counts half (-3).

Pasted logs, code and quotations are removed first. Patterns run on lower-case text in which `SIMPLIFIED` has replaced
the traditional characters of their words. They describe the two languages, not one chat: none of them names a topic.

Example:
    python -m stages.score --judge rules --kind rules --seed 0 --turns data/turns.parquet \
        --out data/scores/rules
"""

import re

import numpy as np

from chatladder.judges.texts import TextTurns, asked, sentences, spoken

MARK_AND_INTERROGATIVE, INTERROGATIVE, WEAK, MARK_ALONE = 10.0, 9.0, 7.0, 7.0
ASKS_NOBODY, EXCLAIMED, NO_TOPIC = 6.0, 3.0, 6.0
#: (words, points): a question with fewer topic words than this loses these points; the first match counts.
TERSE = ((1.0, 3.0), (2.0, 2.0), (3.0, 1.0))
#: A bare mark after fewer topic words than this is an echo ("the usb one?").
ECHO_WORDS = 2.0
#: A line with a larger share of brackets, slashes and similar signs is code.
CODE_SHARE = 0.2
CODE_FROM_CHARACTERS = 20


def _any_of(*parts: str) -> re.Pattern[str]:
    return re.compile("|".join(parts))


#: Traditional characters of the words below; the rest of a text is unchanged.
SIMPLIFIED = str.maketrans(
    "嗎麼麽為樣誰幾沒會問請個裡裏這還說該對從來時過難應當啟裝開種點講覺幫誤錯們將麻煩現讓給見後間總東長遠",
    "吗么么为样谁几没会问请个里里这还说该对从来时过难应当启装开种点讲觉帮误错们将麻烦现让给见后间总东长远",
)

#: Between adjacent Chinese and Latin letters ("报错any idea"), where no pattern would see a word boundary.
SCRIPTS_MEET = re.compile(r"(?<=[\u3400-\u9fff])(?=[a-z0-9])|(?<=[a-z0-9])(?=[\u3400-\u9fff])")

_AUXILIARIES = (
    "is|are|am|was|were|do|does|did|can|could|would|should|will|has|have|isn'?t|aren'?t|don'?t|doesn'?t|can'?t|won'?t"
)
_SUBJECTS = r"i|you|u|we|they|he|she|it|this|that|these|those|there|the|my|your|our|any\w*|some(?:one|body|thing)"
#: The start of a clause: there "is it" and "what is" ask; elsewhere they may tell ("this is what it is").
CLAUSE = re.compile(
    r"^|[,，;:.…(\-–—]\s*|[\u3400-\u9fff]\s+(?=[a-z])|\b(?:and|but|so|or|then|also|ok|okay|well|hi|hey|hello|please|guys|folks|all|now"
    r"|question|anyway|btw|oh|ah|um|just|like)\s+"
)

#: Pasted lines: prompts, bot commands, quoted lines; traces, FAQ lines; errors and warnings; logs with timestamps.
PASTED = _any_of(
    r"^\s*(?:>|\$ |# |!\w|/\w+(?: |$)|[\w.-]+@[\w.-]+[:~ ]|```)",
    r"^\s*(?:traceback |at [\w$.]+\(|file \"|caused by|q[:：]|问[:：])",
    r"^\s*(?:[ew]:|(?:\w*error|\w*exception|warning|fatal|info|debug)\s*[:：\[])",
    r"^\s*\[?\s*(?:\d{4}[-/]\d\d?[-/]\d\d?|\d\d:\d\d:\d\d|\d+\.\d{4,}\])",
)
CODE = re.compile(r"[{}()\[\]<>=;|\\/$#&*_+^`]")

QUOTED = re.compile(r"“[^”]*”|「[^」]*」|『[^』]*』|\"[^\"\n]{2,}\"|‘[^’]{2,}’|《[^》]*》")
REPORTED = _any_of(
    r"(?:他|她|别人|老板|客户|同事|面试官|经常有人|总有人|老有人|天天有人)(?:又|总|老|还|就|刚|才|昨天|今天|一直)*问",
    r"\b(?:he|she|they|people|someone|somebody) (?:\w+ )?(?:asks?|asked|asking|wondered)\b",
)
#: Chinese interrogatives that mean "some", "any" or "no" and ask nothing.
INDEFINITE = _any_of(
    r"(?:没|没有|别|不是|不说|不用|不要|不想|有点|有些|算)(?:个|是)?(?:什么|啥|怎么|几个|谁|多少)(?!办|回事)(?:的|大)?",
    r"(?:什么|啥|谁|怎么|哪里|哪儿|哪个|哪|几|多少)(?:\w{0,2})(?:都|也)",
    r"(?:无论|不管|不论|随便|任凭)[^，,。]{0,12}(?:什么|啥|谁|怎么|哪里|哪个|哪|多少|如何|是否)",
    r"(?:看看?|取决于)[^，,。]{0,6}(?:是不是|有没有|能不能|会不会)|什么的$|什么鬼|多少(?:还|有点|有些)|好几|十几|几十|几百|几千|几万|几乎|几天前|几年前|这几|那几|前几|后几",
    r"想怎么\w就怎么|怎么说呢|不怎么|没怎么|哪怕|谁让|谁叫|鬼知道|动不动|时不时",
)
RHETORICAL = _any_of(
    r"难道|岂|何必|何苦|何况|凭什么|怎么可能|哪有|哪能|谁不|谁说|谁信|谁管|谁敢|谁还|怎么好意思|谁知道呢",
    r"还用说|还用问|不就是?.{0,12}(?:吗|么)|不是.{0,12}(?:了吗|了么)|开什么玩笑|关(?:我|你)什么事|什么玩意|算什么|你以为",
    r"\b(?:who cares|who knows|why bother|what the (?:hell|heck|fuck)|wtf|how dare|guess what|you know what)\b",
    r"\bare you (?:kidding|serious|joking)|\bhow (?:hard|difficult) (?:can|could)|\bwhy would (?:i|you|any)",
)
STRONG_CHINESE = _any_of(
    r"吗|怎么|怎样|咋|如何|为什么|为何|为啥|是否|能否|可否|有无|有木有|多久|多大|多长|多远|多高",
    r"几(?:个|种|次|点|台|号|步|级|位|张|块)|哪(?:个|里|儿|些|位|种|款|家|边|步)",
    # "verb not verb" means "whether" in Chinese: 能不能, 有没有.
    r"(?P<verb>[\u4e00-\u9fff])(?:不|没)(?P=verb)",
    r"(?<![什怎这那多要])么(?=$|[\s，,。.~～…、])",
)
#: Matched at the start of a clause.
STRONG_CLAUSE = _any_of(
    rf"(?:how|hw) (?:to|come|many|much|long|often|big|far|safe|hard|i|you|{_AUXILIARIES})\b",
    r"(?:what|where|who|how|when|why)(?:'s|'re|s) ",
    rf"(?:what|why|where|who|when) (?:else )?(?:{_AUXILIARIES})\b",
    r"(?:what|which) (?!(?:is|are|was|i|you|we|they|he|it)\b)\w+ (?:\w+ )?"
    rf"(?:{_AUXILIARIES}|to|provides?|supports?|contains?|works?)\b",
    r"(?:is|are|was|were|isn'?t|aren'?t|can|could|would|will|should|shouldn'?t|can'?t|does|did|doesn'?t|didn'?t"
    rf"|has|am) (?:{_SUBJECTS})\b",
    r"(?:do|don'?t|have|haven'?t) (?:i|you|u|we|they|any\w*|people)\b",
)
STRONG_ENGLISH = re.compile(
    r"\b(?:how (?:do|does|can|should|would|could) (?:i|you|we|one|it)|what (?:should|can|do) i"
    r"|is there (?:a|an|any|some|another))\b"
)
#: Interrogatives that are certain only with a mark; the English ones are too common in statements to count without it.
WEAK_CHINESE = re.compile(r"什么|啥|谁|多少|几|哪|呢(?=$|[\s，,。.~～…、])")
WEAK_ENGLISH = re.compile(r"\b(?:how|what|whats|why|where|which|who|whose|when)\b")
HELP_CHINESE = _any_of(
    r"求助|求解|求教|求指|求推荐|求支援|求帮|求问|请问|请教|想问|问下|问一下|问个|咨询|有没有人|哪位|有谁",
    r"有人(?:知道|用过|遇到|试过|会|能|懂|在用|装过|做过|碰到|搞过)|帮忙看|帮看|帮我看|搞不懂|搞不定|弄不明白|想不通",
    r"不知道?(?:为什么|为啥|怎么|咋|是什么原因|是什么问题|如何|该怎么|哪里)|不会(?:弄|配|装|用|写|搞|设置)",
    r"不(?:明白|清楚)(?:为什么|怎么|如何)|怎么办|咋办|怎么回事|咋回事|什么原因",
)
HELP_ENGLISH = re.compile(
    r"\b(?:any(?:one|body|1) (?:here |else |out there |ever |who )*(?:know|have|has|had|got|us|tried|try|help|can"
    r"|could|able|familiar|experience|seen|see|getting|willing|aware|run|running|heard|with)"
    r"|any (?:\w+ )?(?:ideas?|suggestions?|advice|pointers?|help|thoughts?|tips?|clues?|way|recommendations?|hints?)\b"
    r"|(?:can|could|would|will|does|do|has|did|is) (?:anyone|anybody|any1|someone|somebody)\b"
    r"|wonder(?:ing)? (?:if|how|why|what|whether|where|which|who|when)\b"
    r"|i (?:still |really |just )?(?:don'?t|do not|didn'?t|can'?t|cannot) (?:know|understand|get|see) "
    r"(?:how|why|what|where|which|if|whether)\b"
    r"|(?:i'?m|i am) not sure (?:how|why|what|where|which|if|whether)\b|no idea (?:how|why|what|where|which)\b"
    r"|(?:i|we) (?:\w+ )?(?:can'?t|cannot|couldn'?t) (?:seem to )?(?:figure|find out)\b|trying to (?:figure|find) out\b"
    r"|i(?:'?m| am)? (?:\w+ )?(?:in )?need(?:ing)? (?:some |a little |a bit of )?(?:help|advice|assistance)\b"
    r"|i (?:want|would like|need) to know\b|(?:please|pls|plz) (?:help|tell|advise)|(?:help|tell) me\b)"
)
#: Words before a mark that make it a suggestion or a guess: "maybe restart it?".
HEDGED = re.compile(
    r"\b(?:maybe|perhaps|try|probably|i think|i guess|you (?:could|should|can|might|need))\b"
    r"|试试|估计|可能|大概|应该|建议|吧[~～。.\s]*$"
)

#: Words that name no topic: greetings, tags, interrogatives, pronouns, particles.
EMPTY = _any_of(
    r"早上好|早安|晚安|下午好|晚上好|中午好|大家好|你好|您好|新年好|吃(?:饭|过|了)*(?:没|吗|么)|睡了|忙不忙|忙吗",
    r"真的|假的|是不是|对不对|好不好|行不行|可不可以|能不能|会不会|有没有|不是吧|不会吧|怎么|怎样|如何|为什么|为何|为啥",
    r"什么|哪个|哪里|哪儿|哪些|哪位|多少|是否|能否|可否|请问|请教|求助|想问|问一下|问下|咨询|这个|那个|这些|那些|这样|那样",
    r"这里|那里|有人|大佬们?|大神们?|各位|大家|群里|朋友们?|兄弟们?|老师们?|自己|知道|明白|然后|所以|但是|就是|还是|可以|一下",
    r"现在|时候|谢谢|麻烦|不好意思|问题",
    r"[吗么呢吧啊呀哦噢喔嗯恩哈呵嘿嘛啦了的得地着过是有在我你您他她它们这那就都也还又再很太才会能要想不没说看]",
    r"[问对好行人个哎唉诶额呃咦哇嗨咋啥哪谁样]|\bgood (?:morning|evening|afternoon|night|day)\b",
    r"\bhow are (?:you|u|things)(?: doing)?\b|\bwhat'?s up\b|\bhow'?s it going\b|\bcan i ask(?: a question)?\b",
    r"\b(?:a|an|the|and|or|but|so|if|then|of|to|in|on|at|for|with|from|by|as|i|you|u|ya|we|they|he|she|it|its|this|that"
    r"|these|those|there|here|my|your|our|me|him|her|them|us|is|are|was|were|be|been|am"
    # The main verb in "how do I do that".
    r"|do(?! (?:it|this|that|so)\b|\s*$)|does|did|doing|can|could|would"
    r"|will|should|shall|may|might|must|has|have|had|not|no|yes|yeah|yep|nope|ok|okay|oh|ah|um|uh|eh|huh|hm+|lol"
    r"|haha|hi|hey|hello|thanks|thank|thx|please|pls|plz|sorry|guys|all|folks|dude|man|everyone|everybody|anyone"
    r"|anybody|someone|somebody|know|help|idea|ideas|any|some|what|whats|how|why|where|which|who|when|really|right|well"
    r"|just|now|too|also|very|one|like|get|got|go|say|said|mean|think|going|sure|true|seriously|again|else|around|alive"
    r"|still|question|questions|ask|s|t|re|m|d|ll|ve|don|doesn|isn|didn)\b",
)
#: The text left by `EMPTY`: Chinese characters, and words or numbers of other scripts.
HANZI = re.compile(r"[\u3400-\u9fff]")
WORD = re.compile(r"[^\W_\u3400-\u9fff][\w.+#-]*", re.ASCII)

#: A cheap test that skips most statements: a text that `MAY_ASK` does not match matches no pattern above.
MAY_ASK = re.compile(
    r"[?？吗嗎么麼麽呢怎咋啥谁誰几幾哪求请請问問何]|什|多[少久大长長远遠高]|[是能可]否|有[无木人谁誰]|不[知会會明清]|搞不|弄不|想不|咨询|[帮幫]"
    r"|(?P<verb>[\u4e00-\u9fff])[不没沒](?P=verb)"
    r"|(?<![a-z])(?:how|hw|wh|any|is|are|am|was|were|can|could|would|will|should|do|did|ha[sv]e?|wonder|sure|idea|need|help|tell"
    r"|please|pls|plz|figure|trying|isn|aren|shouldn|someone|somebody)",
    re.IGNORECASE,
)


def score(turns: TextTurns, seed: int) -> np.ndarray:
    """Score text turns one by one; nothing is random, so ``seed`` has no effect.

    Returns:
        A score from 0 to 10 for each turn, in order; shape ``(turns,)``.
    """
    return np.concatenate([np.zeros(0, np.float32), *turns.map(score_texts)])


def score_texts(texts: list[str], start: int) -> np.ndarray:
    """Score some texts; their position in the chat (``start``) has no effect."""
    return np.array([score_text(text) for text in texts], np.float32)


def score_text(text: str) -> float:
    """Score one text from 0 (does not ask) to 10 (a complete question)."""
    if not MAY_ASK.search(text):
        return 0.0
    plain = _without_pastes(spoken(text)).lower().translate(SIMPLIFIED)
    plain = QUOTED.sub(" quote ", SCRIPTS_MEET.sub(" ", plain))
    return max((_score_sentence(words, end, plain) for words, end in sentences(plain)), default=0.0)


def _without_pastes(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not _pasted(line))


def _pasted(line: str) -> bool:
    if PASTED.search(line.lower()):
        return True
    return len(line) >= CODE_FROM_CHARACTERS and len(CODE.findall(line)) > CODE_SHARE * len(line)


def _score_sentence(words: str, end: str, text: str) -> float:
    """Score one sentence of a text, given its words and the punctuation that closed it."""
    asking = INDEFINITE.sub(" ", words) if HANZI.search(words) else words
    mark, helps = asked(end), _helps(asking)
    strength = _strength(asking, mark)
    if not strength:
        return 0.0
    # "Help!" is often a separate sentence from its topic.
    topic = _topic_words(text if helps else words)
    nobody = bool(RHETORICAL.search(words) or REPORTED.search(words))
    if strength == MARK_ALONE and mark:
        nobody = nobody or topic < ECHO_WORDS or bool(HEDGED.search(asking))
    exclaimed = 0.0
    if not helps and ("!" in end or "！" in end):
        exclaimed = EXCLAIMED if mark else ASKS_NOBODY
    return max(0.0, strength - _missing(topic) - exclaimed - (ASKS_NOBODY if nobody else 0.0))


def _strength(asking: str, mark: bool) -> float:
    """Return how plainly a sentence asks, 0 to 10, whatever its topic."""
    if mark:
        return MARK_AND_INTERROGATIVE if _interrogative(asking) else MARK_ALONE
    if _strong(asking) or _helps(asking):
        return INTERROGATIVE
    return WEAK if WEAK_CHINESE.search(asking) else 0.0


def _interrogative(asking: str) -> bool:
    weak = WEAK_CHINESE.search(asking) or WEAK_ENGLISH.search(asking)
    return bool(weak) or _strong(asking) or _helps(asking)


def _strong(asking: str) -> bool:
    if STRONG_CHINESE.search(asking) or STRONG_ENGLISH.search(asking):
        return True
    return any(STRONG_CLAUSE.match(asking, start.end()) for start in CLAUSE.finditer(asking))


def _helps(asking: str) -> bool:
    return bool(HELP_CHINESE.search(asking) or HELP_ENGLISH.search(asking))


def _topic_words(text: str) -> float:
    """Count the words that name something; a Chinese word is two characters on average."""
    rest = EMPTY.sub(" ", text)
    return len(HANZI.findall(rest)) / 2 + len(WORD.findall(rest))


def _missing(topic: float) -> float:
    """Return the points lost for a topic of so many words."""
    if not topic:
        return NO_TOPIC
    return next((points for words, points in TERSE if topic < words), 0.0)
