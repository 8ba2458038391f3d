"""An exported model in Python: one question after another, as ``chatladder serve`` answers them over HTTP.

Example:
    ask = open_folder("exported/qwen")
    ask([("li", "I installed stacklib 2.1")], ("wu", "does it run on Windows?")).needed
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from chatladder.cli.answering import Answer, Gate, ModelOptions, load_model, settings_of
from chatladder.cli.serve.messages import Asked, Message, Question, Reader
from chatladder.vocabulary import need_two_labels

#: The sender and the text of a message.
Said = tuple[str, str]


def open_folder(folder: str | Path) -> Callable[[Sequence[Said], Said], Answer]:
    """Load a model that ``chatladder export`` wrote.

    Args:
        folder: The exported folder.

    Returns:
        A function that takes the turns before a question, oldest first and at most 100, and the question, and returns
        its answer. Names become pseudonyms and personal data is masked before the model reads anything. The function
        raises ``ValueError`` if a name or a text is empty, too long, or not a string.

    Raises:
        DataError: If the folder holds no merged model, or the task has more than two scored labels.
    """
    need_two_labels("open_folder")
    options = ModelOptions(folder=Path(folder))
    settings = settings_of(None, options, {})
    gate, reader = Gate(*load_model(None, options), settings), Reader(settings)

    def ask(history: Sequence[Said], question: Said) -> Answer:
        before = [Message(sender=sender, text=text) for sender, text in history]
        row = reader.row(Asked(history=before, question=Question(sender=question[0], text=question[1])))
        answers, _ = gate.answer([row])
        return answers[0]

    return ask
