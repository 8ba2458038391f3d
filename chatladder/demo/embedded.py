"""The embedded family: small Qwen2 models with their own tokenizer, trained here from random weights.

They stand in for downloaded chat models of growing size, so that the whole graph runs without a GPU and a hub. They are
trained on unlabelled talk alone (``chatladder.demo.world``), never on the chat that is being labelled or on any label:

- word vectors come from co-occurrence in it (PPMI and a truncated SVD);
- the models then learn to distinguish the question that followed a dialogue from another's, as in BERT's next-sentence
  task. They are trained on the ladder's prompt, with "needed" for the question that followed, or untouched models could
  not answer it at all. That is near the labelled task and not the same: a question that names all it asks about
  follows, too.

Results are equal for equal seeds on one machine with the same number of threads; another number of threads adds floats
in another order, so the weights then differ slightly.

Source:
    Levy and Goldberg, 2014, "Neural word embedding as implicit matrix factorization"; Devlin et al., arXiv 1810.04805.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import click

from chatladder.demo.world import HANZI, WORDS, Dialogue, articles, dialogues
from chatladder.io.console import DataError, bar
from chatladder.io.options import setting
from chatladder.io.task_folder import DEFAULT
from chatladder.models.batches import answer_losses, batches_by_length, check_finite, collate, cosine, reproducible
from chatladder.models.devices import prepare_torch
from chatladder.models.encoding import Example, encode_rows
from chatladder.models.loading import quiet
from chatladder.models.memory import Shape, parameters
from chatladder.models.prompts import ANSWER_FORMS, LANGUAGES, PromptSettings, fixed_texts, option_texts, render
from chatladder.vocabulary import NEGATIVE, POSITIVE, TASK

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

END, PAD = "<|end|>", "<|pad|>"
#: Longest prompt with its answer, in tokens, that the models take.
CONTEXT = 2048
#: Merges learned for Latin script; beyond about 1,500 they are whole words of the dialogues.
LATIN_VOCABULARY = 1500
#: Size of the tokenizer's vocabulary; that of other seeds differs by a few tokens.
VOCABULARY = 5794
#: The share of short dialogues, which come first: on long ones alone, no model learns to match question and dialogue.
SHORT_SHARE = 5 / 8
#: The number of articles that word vectors are computed from, besides the dialogues; the vectors' dimensions; and their
#: initial length relative to random vectors, so that their signal outweighs the rest.
ARTICLES, DIMENSIONS, LOUDNESS = 6000, 6, 2.0
#: The weight of the random part in the embedding of a word with a vector, so that words of one kind differ.
CHANCE = 0.4
#: The fewest texts that two words must share for their co-occurrence to count.
LEAST_TEXTS = 3
#: As published with Muon; the other weights have none.
MUON_WEIGHT_DECAY = 0.1
#: Full-width punctuation and signs that are common in Chinese chats; one token each, like a hanzi.
SIGNS = "，。！？；：、（）《》“”‘’…—～【】「」·￥％＠＃＋－＝／⏎"


@dataclass(frozen=True)
class EmbeddedShape:
    """Size of one model, in Qwen2's own names."""

    hidden_size: int = setting("Embedded: width.", least=1)
    num_hidden_layers: int = setting("Embedded: layers.", least=1)
    num_attention_heads: int = setting("Embedded: heads per layer.", least=1)
    intermediate_size: int = setting("Embedded: width of the feed-forward part.", least=1)

    @property
    def params(self) -> int:
        """The number of weights, apart from a few tokens by which seeds differ."""
        return parameters(
            Shape(
                **asdict(self),
                num_key_value_heads=self.num_attention_heads,
                head_dim=self.hidden_size // self.num_attention_heads,
                vocab_size=VOCABULARY,
                attention_bias=True,
            )
        )

    def __post_init__(self) -> None:
        """Refuse a size of heads for which there are no rotary positions."""
        if self.hidden_size % (2 * self.num_attention_heads):
            raise click.UsageError("--hidden-size must be an even multiple of --num-attention-heads.")


@dataclass(frozen=True)
class Pretraining:
    """Training settings of embedded models; the same for all of them, so passed to every rung, whatever its source."""

    language: str = setting("Language of the prompt.", choices=LANGUAGES)
    answer: str = setting("Form of the answer: text (needed) or lettered (B: needed).", choices=ANSWER_FORMS)
    dialogues: int = setting("Embedded: number of dialogues, each read once.", least=1)
    learning_rate: float = setting("Embedded: learning rate of AdamW (embeddings, norms).", above=0, most=1)
    muon_learning_rate: float = setting("Embedded: learning rate of Muon (hidden matrices).", above=0, most=1)
    per_device_train_batch_size: int = setting("Embedded: dialogues per step.", least=1)
    warmup_steps: int = setting("Embedded: warmup steps.", least=0)
    seeds: tuple[int, ...] = setting("Embedded: seed of a model; repeatable, for several models of one shape.")

    def __post_init__(self) -> None:
        """Refuse seeds that name no folder, or the same one twice."""
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            given = ", ".join(map(str, self.seeds))
            raise click.UsageError(f"--seeds: expected different numbers from 0, got {given}.")

    def prompt(self, seed: int) -> PromptSettings:
        """Return the prompt settings for the dialogues of one seed."""
        return PromptSettings(self.language, self.answer, seed)


def train_tokenizer(texts: Iterable[str]) -> "PreTrainedTokenizerFast":
    """Train a byte-level BPE tokenizer: the world's words, common hanzi, signs, fixed texts, Latin pieces of ``texts``.

    Each word of the world is one token. Each other hanzi is its own pre-token and, if it is common, one token; a rare
    one falls back to its bytes. Latin merges are learned from the ASCII part of ``texts``.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    characters = [*HANZI, *SIGNS]
    vocabulary, merges = _with_characters(*_latin_pieces(texts), characters)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    single = pre_tokenizers.Split(Regex(f"[{SIGNS}\u4e00-\u9fff]"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([single, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    whole = [AddedToken(text, normalized=False) for text in fixed_texts()]
    for text in option_texts():
        # "unneeded" in a message is not an option; hanzi have no spaces around them to detect that.
        whole.append(AddedToken(text, normalized=False, single_word=text.isascii() and text.isalpha()))
    tokenizer.add_tokens(whole)
    tokenizer.add_tokens(list(WORDS))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, model_max_length=CONTEXT, padding_side="left"
    )


def _latin_pieces(texts: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=LATIN_VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    learner.train_from_iterator((text.encode("ascii", "ignore").decode() for text in texts), trainer)
    model = json.loads(learner.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def _with_characters(
    vocabulary: dict[str, int], merges: list[tuple[str, str]], characters: Sequence[str]
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Add merges that join the bytes of each character from the left, so that each is one token."""
    from tokenizers import pre_tokenizers

    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for character in characters:
        spelled = spell.pre_tokenize_str(character)[0][0]
        for length in range(2, len(spelled) + 1):
            piece = spelled[:length]
            if piece not in vocabulary:
                vocabulary[piece] = len(vocabulary)
                merges.append((piece[:-1], piece[-1]))
    return vocabulary, merges


def random_model(shape: EmbeddedShape, vocabulary: int, seed: int) -> "Qwen2ForCausalLM":
    """Return a Qwen2 model of random weights; the narrower it is, the larger they are."""
    from transformers.models.qwen2.configuration_qwen2 import Qwen2Config
    from transformers.models.qwen2.modeling_qwen2 import Qwen2ForCausalLM

    reproducible(seed)
    config = Qwen2Config(
        vocab_size=vocabulary,
        **asdict(shape),
        num_key_value_heads=shape.num_attention_heads,
        max_position_embeddings=CONTEXT,
        initializer_range=0.5 / math.sqrt(shape.hidden_size),
        tie_word_embeddings=True,
    )
    return Qwen2ForCausalLM(config)


def word_vectors(texts: Sequence[str], dimensions: int) -> "NDArray[np.float64]":
    """Return a vector of unit length for each of the world's words, from the texts that words share.

    Args:
        texts: Unlabelled texts.
        dimensions: The dimensions of a vector.

    Returns:
        Shape ``(words, dimensions)``, in the order of ``WORDS``: positive pointwise mutual information, then a
        truncated SVD.
    """
    import numpy as np
    from sklearn.utils.extmath import randomized_svd

    holds = np.array([[word in text for word in WORDS] for text in texts], dtype=np.float64)
    shared, alone = holds.T @ holds, holds.sum(axis=0)
    expected = np.outer(alone, alone) / len(texts)
    information = np.log(np.maximum(shared, 1) / np.maximum(expected, 1e-9)).clip(min=0) * (shared >= LEAST_TEXTS)
    np.fill_diagonal(information, 0)
    left, strengths, _ = randomized_svd(information, dimensions, random_state=0)
    vectors = left * np.sqrt(strengths)
    return np.asarray(vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9))


def start_from_vectors(
    model: "Qwen2ForCausalLM", words: Sequence[int], vectors: "NDArray[np.float64]", seed: int
) -> None:
    """Set each word's embedding to its vector, in random directions, plus a share of its random embedding.

    Args:
        model: A model of random weights.
        words: Token ids.
        vectors: Shape ``(words, dimensions)``.
        seed: The seed of the directions.
    """
    import torch

    weights = model.model.embed_tokens.weight.data
    generator = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(weights.shape[1], vectors.shape[1], generator=generator)).Q
    length = LOUDNESS * weights.std() * math.sqrt(weights.shape[1])
    weights[words] = length * torch.from_numpy(vectors).float() @ directions.T + CHANCE * weights[words]


def dialogue_rows(items: Iterable[Dialogue], settings: PromptSettings) -> list[dict[str, Any]]:
    """Return alpaca rows of dialogues, in the ladder's prompt."""
    rows = []
    for number, item in enumerate(items):
        prompt = render(item.window, item.sender, item.text, str(number), settings)
        answer = prompt.options[POSITIVE if item.followed else NEGATIVE]
        rows.append({"instruction": prompt.instruction, "output": answer, "options": prompt.options})
    return rows


def pretrain(
    model: "Qwen2ForCausalLM", parts: Sequence[Sequence[Example]], settings: Pretraining, seed: int, filler: int
) -> list[float]:
    """Train on every row once, part by part, with loss on the answer alone; return each step's loss (nats per token).

    Muon trains the hidden matrices and AdamW the rest, both on one cosine schedule.

    Args:
        model: The model, of random weights.
        parts: Encoded dialogues, the short ones and then the others.
        settings: Learning rates and batch size.
        seed: The seed of the order of the batches.
        filler: Token id for padding.

    Raises:
        DataError: If the loss stops being finite.
    """
    import torch

    hidden = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "layers." in name]
    others = [weight for name, weight in model.named_parameters() if weight.ndim != 2 or "layers." not in name]
    optimizers = [
        torch.optim.Muon(hidden, lr=settings.muon_learning_rate, weight_decay=MUON_WEIGHT_DECAY),
        torch.optim.AdamW(others, lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    batches = [
        batch for part in parts for batch in batches_by_length(part, settings.per_device_train_batch_size, Random(seed))
    ]
    factor = cosine(len(batches), settings.warmup_steps)
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, factor) for optimizer in optimizers]
    losses = []
    for step, batch in enumerate(bar("pretrain", batches), start=1):
        loss = answer_losses(model, collate(batch, filler)).answer / sum(len(row.answer) for row in batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        losses.append(check_finite(loss.item(), step))
    return losses


def build(shape: EmbeddedShape, settings: Pretraining, seed: int, out: Path) -> dict[str, Any]:
    """Train one tokenizer and one model on dialogues and save both into a folder that exists.

    Args:
        shape: Size of the model.
        settings: The training settings.
        seed: The seed of the dialogues, the initial weights, and the order of the batches.
        out: The folder.

    Returns:
        ``seed``, ``params`` (the shared embedding counted once) and ``loss``, the mean of the last ten steps.

    Raises:
        DataError: If the task is not that of the dialogues.
    """
    if TASK.name != DEFAULT:
        raise DataError(
            f"embedded models know the task {DEFAULT} alone, got {TASK.name}. Take others (chatladder ladder)."
        )
    prepare_torch()
    count = round(SHORT_SHARE * settings.dialogues)
    parts = [[*dialogues(count, seed, short=True)], [*dialogues(settings.dialogues - count, seed)]]
    spoken = ["\n".join(text for _, text in item.window) for part in parts for item in part]
    tokenizer = train_tokenizer([*spoken, *(item.text for part in parts for item in part)])
    model = random_model(shape, len(tokenizer), seed)
    vectors = word_vectors([*articles(ARTICLES, seed), *spoken], DIMENSIONS)
    ids = tokenizer.get_vocab()
    start_from_vectors(model, [ids[word] for word in WORDS], vectors, seed)
    rows = [encode_rows(tokenizer, dialogue_rows(part, settings.prompt(seed)), CONTEXT).examples for part in parts]
    losses = pretrain(model, rows, settings, seed, tokenizer.pad_token_id)
    quiet()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return {"seed": seed, "params": model.num_parameters(), "loss": sum(losses[-10:]) / len(losses[-10:])}
