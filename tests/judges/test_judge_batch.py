"""The judge in batches: what Ray is told, what goes in, what is kept, and what is said where there is no GPU.

Nothing here is a GPU or vLLM: in their place a stand-in answers by the length of the message.
"""

import asyncio
import importlib.util
import json
import math
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from chatladder.endpoint.cache import AnswerCache
from chatladder.endpoint.options import PLAIN_FORM, SCHEMA_FORM
from chatladder.endpoint.plan import Plan
from chatladder.endpoint.prompt import SCORE_FORMAT, read_prompt
from chatladder.io.console import DataError
from chatladder.io.rows import TURNS, write_rows
from chatladder.judges.batch import engine, run, score_texts
from chatladder.judges.batch.options import BatchOptions, gather
from stages import score
from tests.endpoint_chat import PROMPT, TEXTS, Chat
from tests.folder_models import TEMPLATE, bytes_tokenizer
from tests.turn_rows import turn

COMMIT = "0123456789" * 4
BODY = {
    "model": "m",
    "messages": [{"role": "system", "content": "rate"}, {"role": "user", "content": ""}],
    "temperature": 0.0,
    "seed": 7,
    "max_tokens": 32,
}


def find_ray_llm():
    """Why Ray's classes cannot be imported; "" if they can."""
    try:
        import ray.data.llm  # noqa: F401
    except ImportError as error:
        return f"ray.data.llm cannot be imported: {error}"
    return ""


needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: chatladder[ray]")
needs_ray_llm = pytest.mark.skipif(bool(lacking := find_ray_llm()), reason=lacking)


def options(**changes):
    given = {
        "repo": "org/model",
        "revision": COMMIT,
        "prompt": PROMPT,
        "structured": "always",
        "max_answer_tokens": 32,
        "max_characters": 2000,
        "temperature": 0.0,
        "seed": 7,
        "extra_body": "",
        "dtype": "bfloat16",
        "max_model_len": 4096,
        "tensor_parallel_size": 1,
        "gpu_memory_utilization": 0.9,
        "replicas": 2,
        "batch_size": 16,
    }
    return BatchOptions(**{**given, **changes})


def by_length(row):
    return f'{{"score": {len(row["message"]) % 11}}}'


def answered(row, text):
    """What the engine adds to a row."""
    return {**row, "generated_text": text, "num_input_tokens": len(row["message"]), "num_generated_tokens": 3}


class Here:
    """In Ray's place: blocks are lists, rows come back last first."""

    def __init__(self, answer):
        self.asked = []
        self.data = SimpleNamespace(from_arrow_refs=lambda blocks: [row for block in blocks for row in block])
        self._answer = answer

    @property
    def exceptions(self):
        import ray.exceptions

        return ray.exceptions

    def put(self, table):
        return table.to_pylist()

    def chain(self, config, body, form):
        return lambda rows: SimpleNamespace(iter_rows=lambda: (self._one(row, body, form) for row in rows[::-1]))

    def _one(self, row, body, form):
        row |= engine.enter(row, body=body, form=form)
        self.asked.append(row)
        text = self._answer(row)
        if isinstance(text, Exception):
            return {**row, "__inference_error__": f"{type(text).__name__}: {text}"}
        return engine.leave(answered(row, text))


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """Score texts with an engine of this process; what it was asked is in ``asked``."""

    def score_by(answer=by_length, texts=TEXTS, **changes):
        here = Here(answer)

        @contextmanager
        def joined(options):
            yield here

        monkeypatch.setattr(run, "_joined", joined)
        monkeypatch.setattr(run, "_look", lambda ray, folder: None)
        monkeypatch.setattr(run, "fetch", lambda repo, revision: tmp_path / "model")
        monkeypatch.setattr(run, "_tokenizer", lambda folder: bytes_tokenizer())
        monkeypatch.setattr(run, "engine_config", lambda *given: given)
        monkeypatch.setattr(run, "build", here.chain)
        score_by.asked = here.asked
        return score_texts(Chat(texts), options(**changes), tmp_path / "answers", score_by.said.append)

    score_by.said = []
    return score_by


# What goes in and what comes out


def test_a_text_goes_in_as_an_endpoint_is_asked_and_held_to_the_same_schema():
    row = engine.enter({"message": "walled text"}, body=BODY, form=SCHEMA_FORM)
    assert row["messages"] == [BODY["messages"][0], {"role": "user", "content": "walled text"}]
    schema = row["sampling_params"].pop("structured_outputs")["json"]
    assert json.loads(schema) == SCORE_FORMAT["json_schema"]["schema"]
    assert row["sampling_params"] == {"temperature": 0.0, "seed": 7, "max_tokens": 32, "detokenize": False}
    assert "structured_outputs" not in engine.enter({"message": "m"}, body=BODY, form=PLAIN_FORM)["sampling_params"]
    assert BODY["messages"][1]["content"] == ""


@pytest.mark.parametrize(("said", "expected"), [('<think>so</think>{"score": 7}', 7.0), ("7", None), ("", None)])
def test_an_answer_comes_out_as_a_score_or_as_none(said, expected):
    row = {"position": 3, "key": b"k", "generated_text": said, "num_input_tokens": 40, "num_generated_tokens": 9}
    found = engine.leave(row)
    assert (math.isnan(found.pop("score"))) if expected is None else found.pop("score") == expected
    assert found == {"position": 3, "key": b"k", "prompt_tokens": 40, "completion_tokens": 9}


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_every_different_text_is_asked_once_and_scores_are_in_the_order_of_turns(judge, monkeypatch, rows):
    monkeypatch.setattr(run, "BLOCK_ROWS", rows)
    texts = [*TEXTS, TEXTS[0]]
    scores, report = judge(texts=texts)
    prompt = read_prompt(PROMPT, 2000)
    assert scores.tolist() == [len(prompt.user(text)) % 11 for text in texts]
    assert sorted(row["message"] for row in judge.asked) == sorted(map(prompt.user, TEXTS))
    assert {row["messages"][0]["content"] for row in judge.asked} == {prompt.system}
    assert (report.texts, report.requests, report.cached) == (4, 4, 0)
    assert report.answer_prompt_tokens == sum(len(prompt.user(text)) for text in TEXTS)
    assert report.answer_completion_tokens == 12
    assert judge.said[0].startswith("org/model: 4 of 4 different texts to ask, 0 answered before")


def test_a_repeated_run_asks_nothing_whatever_the_engine_s_limits(judge):
    first, _ = judge()
    changed = {"max_model_len": 8192, "tensor_parallel_size": 4, "replicas": 1, "batch_size": 1}
    second, report = judge(**changed)
    assert first.tobytes() == second.tobytes()
    assert judge.asked == []
    assert (report.cached, report.requests, len(judge.said)) == (4, 0, 1)
    # A text that is new is asked alone.
    judge(texts=[*TEXTS, "and who?"])
    assert len(judge.asked) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"revision": "f" * 40},
        {"dtype": "float16"},
        {"temperature": 0.5},
        {"seed": 8},
        {"extra_body": '{"chat_template_kwargs": {"enable_thinking": false}}'},
    ],
    ids=["revision", "dtype", "temperature", "seed", "template"],
)
def test_what_changes_answers_is_asked_anew(judge, change):
    judge()
    judge(**change)
    assert len(judge.asked) == 4


def test_answers_are_not_those_of_an_endpoint_with_the_same_model(judge, tmp_path):
    judge()
    served = options().asked()._replace(base_url="http://localhost:8000/v1")
    with AnswerCache(tmp_path / "answers") as cache:
        prompt = read_prompt(PROMPT, 2000)
        assert Plan(Chat(TEXTS), options().asked(), prompt, cache).scored == 4
        assert Plan(Chat(TEXTS), served, prompt, cache).scored == 0


def test_a_drawn_answer_that_is_no_score_is_drawn_again_with_another_seed(judge):
    seeds = []

    def answer(row):
        seeds.append(row["sampling_params"]["seed"])
        return by_length(row) if seeds[-1] == 9 else "perhaps"

    _, report = judge(answer, temperature=0.7, texts=TEXTS[:2])
    assert seeds == [7, 7, 8, 8, 9, 9]
    assert (report.requests, report.asked_again, report.answer_completion_tokens) == (6, 4, 6)


def test_a_text_without_a_score_fails_the_run_by_its_turn_and_the_others_are_kept(judge):
    def answer(row):
        if "重启" in row["message"]:
            return ValueError("重启 is what somebody said")
        return "well, 7" if "4bit" in row["message"] else by_length(row)

    with pytest.raises(DataError) as raised:
        judge(answer)
    said = raised.value.message
    assert "org/model: 2 texts got no answer that is a score from 0 to 10 (the engine refused some: ValueError)" in said
    assert "turns turn-1, turn-2. 2 of 4 texts are scored" in said
    assert "重启" not in said
    judge()
    assert len(judge.asked) == 2  # at temperature 0 the same answer would come again, and was not asked for


@needs_ray
def test_answers_before_a_lost_engine_are_kept(judge):
    from ray.exceptions import ActorDiedError

    def answer(row):
        if "install" in row["message"]:  # the first text, and so the last to come
            raise ActorDiedError
        return by_length(row)

    with pytest.raises(DataError, match=r"Ray lost the engine \(ActorDiedError\); 3 of 4 texts have a score"):
        judge(answer)
    judge()
    assert len(judge.asked) == 1


# Options


def test_a_revision_that_can_move_is_refused(judge):
    with pytest.raises(DataError, match="revision: expected a commit of 40 hexadecimal digits, got 'main'"):
        judge(revision="main")


@pytest.mark.parametrize("body", ['{"top_k": 1}', '{"chat_template_kwargs": 1}', '{"seed": 1}'])
def test_only_arguments_of_the_template_may_be_added(judge, body):
    with pytest.raises(DataError, match="extra_body: expected"):
        judge(extra_body=body)


def test_options_that_the_judge_needs_are_named():
    import click

    with pytest.raises(click.UsageError, match="a judge of kind batch needs --repo, --dtype too"):
        gather({**options()._asdict(), "repo": None, "dtype": None})
    with pytest.raises(click.UsageError, match="needs --temperature too"):
        gather({**options()._asdict(), "temperature": None})


def test_a_model_that_cannot_be_had_is_told():
    with pytest.raises(DataError, match=rf"org/none@{COMMIT}: expected a model on the hub, got: "):
        run.fetch("org/none", COMMIT)


def test_no_code_and_no_pickle_is_fetched(monkeypatch):
    import huggingface_hub

    asked = {}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo, **given: asked.update(given) or "/m")
    run.fetch("org/model", COMMIT)
    assert asked["revision"] == COMMIT
    assert not [name for name in asked["allow_patterns"] if name.endswith(("py", "bin", "pt", "pth", "*"))]


# What Ray is told


@needs_ray_llm
def test_ray_takes_the_configuration_and_no_code_is_trusted(tmp_path):
    from ray.data.llm import vLLMEngineProcessorConfig

    config = engine.engine_config(options(tensor_parallel_size=2), tmp_path, {"enable_thinking": False})
    assert isinstance(config, vLLMEngineProcessorConfig)
    assert config.model_source == str(tmp_path)
    assert config.engine_kwargs["trust_remote_code"] is False
    assert config.engine_kwargs["load_format"] == "safetensors"
    limits = ("dtype", "max_model_len", "tensor_parallel_size", "gpu_memory_utilization")
    assert [config.engine_kwargs[name] for name in limits] == ["bfloat16", 4096, 2, 0.9]
    assert (config.concurrency, config.batch_size, config.should_continue_on_error) == (2, 16, True)
    assert config.chat_template_stage.chat_template_kwargs == {"enable_thinking": False}


@needs_ray_llm
def test_what_ray_refuses_is_told_without_the_rest(tmp_path):
    with pytest.raises(DataError, match=r"ray\.data\.llm refuses the options of this judge: batch_size, concurrency"):
        engine.engine_config(options(replicas=0, batch_size="many"), tmp_path, {})


def begins(template):
    """A tokenizer that begins every text with a token of its own."""
    from tokenizers import processors

    tokenizer = bytes_tokenizer(template, bos_token="<|endoftext|>")
    added = [("<|endoftext|>", tokenizer.convert_tokens_to_ids("<|endoftext|>"))]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("<|endoftext|> $A", None, added)
    return tokenizer


def through_stages(folder, messages, arguments):
    """The tokens that Ray's stages make of messages."""
    from ray.llm._internal.batch.stages.chat_template_stage import ChatTemplateUDF
    from ray.llm._internal.batch.stages.tokenize_stage import TokenizeUDF

    async def pass_through():
        rows = [{"messages": messages}]
        for stage in (
            ChatTemplateUDF("d", ["messages"], str(folder), chat_template_kwargs=arguments),
            TokenizeUDF("d", ["prompt"], str(folder)),
        ):
            async for found in stage({"d": rows}):
                rows = found["d"]
        return list(rows[0]["tokenized_prompt"])

    return asyncio.run(pass_through())


@needs_ray_llm
@pytest.mark.parametrize(
    ("tokenizer", "expected"),
    [(bytes_tokenizer(), {}), (begins("{{ bos_token }}" + TEMPLATE), {"bos_token": ""})],
    ids=["begins with nothing", "would begin twice"],
)
def test_ray_s_own_stages_make_the_tokens_that_the_template_stands_for(tmp_path, tokenizer, expected):
    tokenizer.save_pretrained(tmp_path)
    loaded = run._tokenizer(tmp_path)
    arguments = engine.template_arguments(loaded, {})
    assert arguments == expected
    messages = engine.enter({"message": "怎么装？"}, body=BODY, form=PLAIN_FORM)["messages"]
    meant = loaded.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert through_stages(tmp_path, messages, arguments) == meant
    assert (through_stages(tmp_path, messages, {}) == meant) is (expected == {})  # the second is what Ray would do


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [
        (bytes_tokenizer(None), "no chat template"),
        (bytes_tokenizer("{{ raise_exception('no system message') }}"), "does not take a system message"),
        (begins("<|endoftext|>" + TEMPLATE), "tokenize this model's prompts otherwise"),
    ],
    ids=["none", "no system message", "twice whatever it is told"],
)
def test_a_model_whose_prompts_would_be_wrong_is_refused(tokenizer, said):
    with pytest.raises(DataError, match=said):
        engine.template_arguments(tokenizer, {})


# Where there is no GPU


@pytest.fixture
def turns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [turn(number, text) for number, text in enumerate(TEXTS)]
    write_rows(tmp_path / "turns.parquet", rows, TURNS)
    return tmp_path / "turns.parquet"


def run_stage(turns, **changes):
    given = {**options()._asdict(), **changes}
    words = [word for name, value in given.items() if value not in (None, "") for word in (f"--{name}", str(value))]
    files = ["--turns", str(turns), "--out", str(turns.with_name("s")), "--counts", str(turns.with_name("c"))]
    return CliRunner().invoke(score.main, ["--judge", "qwen", "--kind", "batch", *words, *files])


def test_without_ray_it_says_what_to_install_and_writes_nothing(turns, monkeypatch):
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    result = run_stage(turns)
    assert result.exit_code == 1
    assert f"Error: qwen, {turns}: a judge of kind batch needs Ray and vLLM. Run pip install" in result.output
    assert "use a judge of kind endpoint" in result.output
    assert not turns.with_name("s").exists()


def test_the_stage_writes_scores_and_cost_and_the_same_again(turns, judge, monkeypatch):
    judge(texts=TEXTS)  # leaves the stand-in in Ray's place
    first = run_stage(turns)
    assert first.exit_code == 0, first.output
    made = turns.with_name("s").read_bytes(), turns.with_name("c").read_bytes()
    assert pq.read_table(turns.with_name("s"))["turn_id"].to_pylist() == ["t0", "t1", "t2", "t3"]
    counts = json.loads(made[1])
    assert (counts["texts"], counts["completion_tokens"]) == (4, 12)
    monkeypatch.setattr(run, "_joined", None)  # not even looked for
    second = run_stage(turns)
    assert second.exit_code == 0, second.output
    assert "0 requests" in second.output
    assert (turns.with_name("s").read_bytes(), turns.with_name("c").read_bytes()) == made


# Over Ray


@pytest.fixture(scope="module")
def cluster():
    """Ray on this machine, with a GPU that is but a number."""
    from chatladder.distributed.ray_workers import QUIET

    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        import ray

        ray.init("local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests
        yield ray
        ray.shutdown()


@pytest.mark.slow
@needs_ray_llm
def test_a_cluster_without_gpus_or_vllm_is_told(cluster, turns, monkeypatch):
    result = run_stage(turns, tensor_parallel_size=2)
    assert result.exit_code == 1, result.output
    assert "expected 2 GPU(s) for a copy of the model, Ray finds 1" in result.output
    result = run_stage(turns)
    assert result.exit_code == 1, result.output
    assert ": vLLM is not installed. Run pip install 'chatladder[ray]' 'ray[data,llm]' on every node" in result.output
    assert not turns.with_name("s").exists()


def stands_in():
    """A stage of Ray's in place of vLLM's and those around it."""
    import ray
    from ray.llm._internal.batch.stages.base import StatefulStage, StatefulStageUDF

    class StandsIn(StatefulStageUDF):
        async def udf(self, rows):
            for row in rows[::-1]:
                place = {self.IDX_IN_BATCH_COLUMN: row[self.IDX_IN_BATCH_COLUMN]}
                if row["messages"][1]["content"] != row["message"] or row["sampling_params"]["max_tokens"] != 32:
                    yield {**place, "__inference_error__": "AssertionError: not what was meant"}
                elif "refuse" in row["message"]:
                    yield {**place, "__inference_error__": "ValueError: of this text"}
                else:
                    yield {**place, "__inference_error__": "", **answered({"message": row["message"]}, by_length(row))}

    return StatefulStage(fn=StandsIn, map_batches_kwargs={"compute": ray.data.ActorPoolStrategy(size=1)})


@pytest.mark.slow
@needs_ray_llm
def test_blocks_of_a_real_dataset_come_to_scores_in_the_order_of_turns(cluster, tmp_path, monkeypatch):
    from ray.llm._internal.batch.processor import vllm_engine_proc

    def build(config, body, form):
        chain = engine_build(config, body, form)
        assert chain.list_stage_names() == ["ChatTemplateStage", "TokenizeStage", "vLLMEngineStage", "DetokenizeStage"]
        for stage in chain.stages.values():
            given = stage.fn_constructor_kwargs
            assert given["model"] == str(tmp_path / "model")
            assert given.get("engine_kwargs", given)["trust_remote_code"] is False
        chain.stages.clear()
        chain.stages["vLLMEngineStage"] = stands_in()
        return lambda rows: chain(rows.randomize_block_order(seed=1))

    engine_build = engine.build
    bytes_tokenizer().save_pretrained(tmp_path / "model")
    # Else an actor is started, which counts for Ray's makers where usage statistics are on.
    nobody = SimpleNamespace(push_telemetry_report=lambda report: None)
    monkeypatch.setattr(vllm_engine_proc, "get_or_create_telemetry_agent", lambda: nobody)
    monkeypatch.setattr(run, "_look", lambda ray, folder: None)
    monkeypatch.setattr(run, "fetch", lambda repo, revision: tmp_path / "model")
    monkeypatch.setattr(run, "build", build)
    monkeypatch.setattr(run, "BLOCK_ROWS", 7)
    texts = [f"how do i mount disk {'x' * (n % 13)} number {n}?" for n in range(60)]
    refused = [texts[0], "refuse", texts[1], "refuse!", *texts[2:]]
    with pytest.raises(DataError, match=r"2 texts got no answer .*ValueError\): turns turn-1, turn-3\. 60 of 62"):
        score_texts(Chat(refused), options(batch_size=5), tmp_path / "answers", str)
    scores, report = score_texts(Chat(texts), options(), tmp_path / "answers", str)
    assert (report.cached, report.requests) == (60, 0)
    prompt = read_prompt(PROMPT, 2000)
    assert scores.tolist() == [len(prompt.user(text)) % 11 for text in texts]
