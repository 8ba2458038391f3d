r"""A judge made of rules, for Chinese, English and the mix of both: is this text a real question with a topic?

Each sentence is looked at alone; a turn's score is that of its best sentence. A sentence that does not ask
scores 0. One that does starts from how plainly it asks and loses points for what is missing:

- how it asks: an interrogative with a mark 10, an interrogative or a call for help 9, a weak interrogative
  (the Chinese "what" and "who" are also "something" and "someone") 7, a mark alone 7;
- what it asks about: a greeting with a mark is about nothing (-6); "how is this installed?" names one thing
  where a complete question names three (-3). Short of its subject or its object it still passes: such
  questions are what this project studies;
- whom it asks: a rhetorical or reported question asks nobody (-6), nor do an echo or a guess with a mark, nor an
  interrogative in an exclamation; "?!" is half of one (-3).

Pasted logs, code and quotations are passed over before anything is asked of the text.

Example:
    python -m stages.score --judge rules --kind rules --seed 0 --turns data/turns.parquet \
        --out data/scores/rules.parquet --counts data/counts/score_rules.json
"""

import numpy as np
from tqdm import tqdm

from chatladder.judges import wording
from chatladder.judges.text import asked, sentences, spoken
from chatladder.judges.turns import TextTurns

MARK_AND_INTERROGATIVE, INTERROGATIVE, WEAK, MARK_ALONE = 10.0, 9.0, 7.0, 7.0
ASKS_NOBODY, EXCLAIMED, NO_TOPIC = 6.0, 3.0, 6.0
#: (words, points): a question with fewer words of its own than this loses these points; first match counts.
TERSE = ((1.0, 3.0), (2.0, 2.0), (3.0, 1.0))
#: A bare mark behind fewer words of its own than this is an echo ("the usb one?").
ECHO_WORDS = 2.0
#: A line with a larger share of brackets, slashes and the like is code.
CODE_SHARE = 0.2
CODE_FROM_CHARACTERS = 20


def score(turns: TextTurns, seed: int) -> np.ndarray:
    """Score text turns one by one; nothing is drawn at random, so ``seed`` changes nothing.

    Returns:
        A score from 0 to 10 for each turn, in order; shape ``(turns,)``.
    """
    scores = np.zeros(turns.num_rows, np.float32)
    with tqdm(total=turns.num_rows, desc="rules", unit=" turns", disable=None) as progress:
        start = 0
        for some in turns.map(score_texts):
            scores[start : start + len(some)] = some
            start += len(some)
            progress.update(len(some))
    return scores


def score_texts(texts: list[str], start: int) -> np.ndarray:
    """Score some texts; which of the chat's they are (``start``) changes nothing."""
    return np.array([score_text(text) for text in texts], np.float32)


def score_text(text: str) -> float:
    """Score one text from 0 (does not ask) to 10 (asks in full)."""
    if not wording.MAY_ASK.search(text):
        return 0.0
    said = _without_pastes(spoken(text)).lower().translate(wording.SIMPLIFIED)
    said = wording.QUOTED.sub(" quote ", wording.SCRIPTS_MEET.sub(" ", said))
    return max((_score_sentence(words, end, said) for words, end in sentences(said)), default=0.0)


def _without_pastes(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not _pasted(line))


def _pasted(line: str) -> bool:
    if wording.PASTED.search(line.lower()):
        return True
    return len(line) >= CODE_FROM_CHARACTERS and len(wording.CODE.findall(line)) > CODE_SHARE * len(line)


def _score_sentence(words: str, end: str, said: str) -> float:
    """Score one sentence of the text ``said``: its words, and the punctuation that closed it."""
    asking = wording.INDEFINITE.sub(" ", words) if wording.HANZI.search(words) else words
    mark, helps = asked(end), _helps(asking)
    strength = _strength(asking, mark)
    if not strength:
        return 0.0
    # "Help!" is often a sentence apart from what it is about.
    topic = _topic_words(said if helps else words)
    nobody = bool(wording.RHETORICAL.search(words) or wording.REPORTED.search(words))
    if strength == MARK_ALONE and mark:
        nobody = nobody or topic < ECHO_WORDS or bool(wording.HEDGED.search(asking))
    exclaimed = 0.0
    if not helps and ("!" in end or "！" in end):
        exclaimed = EXCLAIMED if mark else ASKS_NOBODY
    return max(0.0, strength - _missing(topic) - exclaimed - (ASKS_NOBODY if nobody else 0.0))


def _strength(asking: str, mark: bool) -> float:
    """How plainly a sentence asks, 0 to 10, whatever it asks about."""
    if mark:
        return MARK_AND_INTERROGATIVE if _interrogative(asking) else MARK_ALONE
    if _strong(asking) or _helps(asking):
        return INTERROGATIVE
    return WEAK if wording.WEAK_CHINESE.search(asking) else 0.0


def _interrogative(asking: str) -> bool:
    weak = wording.WEAK_CHINESE.search(asking) or wording.WEAK_ENGLISH.search(asking)
    return bool(weak) or _strong(asking) or _helps(asking)


def _strong(asking: str) -> bool:
    if wording.STRONG_CHINESE.search(asking) or wording.STRONG_ENGLISH.search(asking):
        return True
    return any(wording.STRONG_CLAUSE.match(asking, start.end()) for start in wording.CLAUSE.finditer(asking))


def _helps(asking: str) -> bool:
    return bool(wording.HELP_CHINESE.search(asking) or wording.HELP_ENGLISH.search(asking))


def _topic_words(text: str) -> float:
    """Count the words that name something; a Chinese word is two characters on average."""
    rest = wording.EMPTY.sub(" ", text)
    return len(wording.HANZI.findall(rest)) / 2 + len(wording.WORD.findall(rest))


def _missing(topic: float) -> float:
    """Points lost for a topic of so many words."""
    if not topic:
        return NO_TOPIC
    return next((points for words, points in TERSE if topic < words), 0.0)
