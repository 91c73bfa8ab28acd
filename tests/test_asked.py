"""What is sent for a row, whole: templates, conversations, tools, parameters of rows, local files."""

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Bench
from listening import listening

PIXEL = base64.b64decode("R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==")
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


class Listener:
    """A gateway that keeps the bodies it is sent."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.base_url = ""

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.bodies.append(body)
        return 200, {"choices": [{"message": {"content": "7"}, "finish_reason": "stop"}]}

    def asked(self) -> list[dict[str, Any]]:
        """The bodies, in the order of what the last message says."""
        return sorted(self.bodies, key=lambda body: json.dumps(body["messages"][-1]))


@pytest.fixture
def listener() -> Iterator[Listener]:
    """It listens until the test is over."""
    listener = Listener()
    with listening(listener.answer) as listener.base_url:
        yield listener


def refused(bench: Bench, listener: Listener, request_table: str, words: str) -> None:
    """A job with such a table ends with 78 and these words before anything is sent."""
    bench.write("in.jsonl", {"question": "1 + 1?"})
    told = bench.run(job(bench, request_table), "--base-url", listener.base_url, code=78).stderr
    assert words in told
    assert listener.bodies == []


def job(bench: Bench, request: str, name: str = "in.jsonl") -> Path:
    """A job file with this [request]."""
    path = bench.folder / "job.toml"
    path.write_text(f'input = "{name}"\noutput = "in.results.jsonl"\n[request]\nmodel = "acme/small"\n{request}\n')
    return path


def ask(bench: Bench, listener: Listener, *arguments: object, code: int = 0) -> list[dict[str, Any]]:
    """What was sent in a run."""
    bench.run(*arguments, "--base-url", listener.base_url, code=code)
    return listener.asked()


def errors(bench: Bench) -> list[str]:
    """The messages of the failed rows, None for the others."""
    return [row["error"] and row["error"]["message"] for row in bench.output()]


def test_the_system_message_is_a_template(bench: Bench, listener: Listener) -> None:
    bench.write(
        "in.jsonl", {"prompt": "a", "tone": "kind"}, {"messages": [{"role": "user", "content": "b"}], "tone": 2}
    )
    sent = ask(bench, listener, "in.jsonl", "-m", "m", "--system", "Be {{ tone }}.\n")
    assert [body["messages"] for body in sent] == [
        [{"role": "system", "content": "Be kind.\n"}, {"role": "user", "content": "a"}],
        [{"role": "system", "content": "Be 2.\n"}, {"role": "user", "content": "b"}],
    ]


def test_a_row_without_what_its_system_message_needs_fails(bench: Bench, listener: Listener) -> None:
    bench.write("in.jsonl", {"prompt": "a", "tone": "kind"}, {"prompt": "b"})
    assert len(ask(bench, listener, "in.jsonl", "-m", "m", "--system", "Be {{ tone }}.", code=1)) == 1
    assert "'tone' is undefined" in errors(bench)[1]


def test_the_prompt_may_stand_in_a_file(bench: Bench, listener: Listener) -> None:
    bench.write("in.jsonl", {"question": "1 + 1?"})
    (bench.folder / "ask.txt").write_text("Solve é:\n\n{{ question }}\n")
    (body,) = ask(bench, listener, "in.jsonl", "-m", "m", "--prompt-file", "ask.txt")
    assert body["messages"] == [{"role": "user", "content": "Solve é:\n\n1 + 1?\n"}]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--prompt-file", "no.txt"], 65, "no.txt"),
        (["--prompt-file", "ask.txt", "--prompt", "x"], 78, "--prompt-file"),
        (["--prompt-file", "latin.txt"], 78, "UTF-8"),
        (["--prompt", "{{ qestion }}"], 78, "did you mean 'question'"),
        (["--system", "{{ qestion }}", "--prompt", "x"], 78, "did you mean 'question'"),
        (["--system", "{{ question", "--prompt", "x"], 78, "line 1"),
        (["--system", "{{ 1 / 0 }}", "--prompt", "x"], 78, "ZeroDivisionError"),
        (["--files", "no", "--prompt", "x"], 78, "no folder"),
        (["--param", "n=2", "--prompt", "x"], 78, "samples"),
        (["--param", "max_tokens=5", "--param", "max_completion_tokens=5", "--prompt", "x"], 78, "two names"),
    ],
)
def test_what_no_row_could_survive_is_found_before_anything_is_sent(
    bench: Bench, listener: Listener, options: list[str], code: int, words: str
) -> None:
    bench.write("in.jsonl", {"question": "1 + 1?"})
    (bench.folder / "ask.txt").write_text("x")
    (bench.folder / "latin.txt").write_bytes(b"\xe9")
    told = bench.run("in.jsonl", "-m", "m", *options, "--base-url", listener.base_url, code=code).stderr
    assert words in told
    assert listener.bodies == []


def test_a_whole_conversation_may_be_a_template(bench: Bench, listener: Listener) -> None:
    bench.write("in.jsonl", {"q": "a", "image": "https://x.example/1.png"}, {"q": "b", "image": "{{ 7 * 7 }}"})
    messages = """messages = [
        { role = "user", content = "2 + 2?" },
        { role = "assistant", content = "4\\n" },
        { role = "user", content = [
            { type = "text", text = "{{ q }}?" }, { type = "image_url", image_url = { url = "data:,{{ image }}" } } ] },
    ]"""
    sent = ask(bench, listener, job(bench, messages + '\nsystem = "Be brief."'))
    for body, q, image in zip(sent, "ab", ("https://x.example/1.png", "{{ 7 * 7 }}"), strict=True):
        assert body["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "2 + 2?"},
            {"role": "assistant", "content": "4\n"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": f"{q}?"},
                    {"type": "image_url", "image_url": {"url": f"data:,{image}"}},
                ],
            },
        ]


@pytest.mark.parametrize(
    ("request_table", "words"),
    [
        ('messages = [{ role = "user", content = "{{ qestion }}" }]', "did you mean 'question'"),
        ('messages = [{ role = "user", content = [{ type = "text", text = "{{ a" }] }]', "line 1"),
        ('messages = [{ role = "user", content = "{% include \'a\' %}" }]', "stand alone"),
        ('messages = [{ content = "a" }]', "no role"),
        ('messages = [{ role = "user", content = 5 }]', "no role, or a content"),
        ('messages = [{ role = "user", content = "a" }]\nprompt = "b"', "leave one out"),
        ('prompt = "b"\nrow_params = ["n"]', "samples"),
        ('prompt = "b"\nrow_params = ["messages"]', "no parameter"),
        ('prompt = "b"\nrow_params = ["stream"]', "stream"),
        ('response_format = { type = "json_shema" }', 'the type "json_shema"; did you mean "json_schema"?'),
        ("response_format = { schema = {} }", "response_format has no type"),
        (
            'tools = [{ function = { name = "f" } }]\ntool_choice = { function = { name = "g" } }',
            'job.toml:6: request.tool_choice names the function "g"; request.tools has "f"',
        ),
        ('prompt = "b"\nrow_params = ["system"]', 'system = "{{ system }}"'),
        ('row_params = ["seed"]\n[sweep]\nseed = [1]', "job.toml:5: request.row_params: [sweep] sets seed"),
        ('row_params = ["max_tokens"]\n[sweep]\nmax_completion_tokens = [9]', "[sweep] sets max_completion_tokens"),
        ('prompt = "b"\n[retry]\nfail_on = ["stop", "lenght"]', 'fail_on: "lenght" is no finish reason; did you mean'),
        ('prompt = "b"\n[retry]\nfail_on = ["Content-Filter"]', 'did you mean "content_filter"?'),
        ('prompt = "b"\n[retry]\ninvalid_answers = -1', "invalid_answers"),
    ],
)
def test_a_wrong_request_table_is_found_before_anything_is_sent(
    bench: Bench, listener: Listener, request_table: str, words: str
) -> None:
    refused(bench, listener, request_table, words)


SYSTEM_OF_TWO_LINES = '''system = """
Be kind.
{{ question | shout }}"""'''


@pytest.mark.parametrize(
    ("request_table", "words"),
    [
        ('prompt = "{{ question"', "job.toml:5: request.prompt: the template is wrong in line 1"),
        (SYSTEM_OF_TWO_LINES, "job.toml:5: request.system: the template is wrong in line 2: No filter named 'shout'"),
        ('\nsystem = "{{ 1 // 0 }}"', "job.toml:6: request.system: The system message can't be made"),
        ('prompt = "{{ qestion }}"', "job.toml:5: request.prompt: The template needs the column 'qestion'"),
        (
            'messages = [\n{ role = "user", content = "a" },\n{ role = "user", content = [{ text = "{% if %}" }] },\n]',
            "job.toml:7: request.messages[1].content[0].text: the template is wrong in line 1",
        ),
        (
            '[sweep]\nprompt = [\n"{{ question }}",\n"{% import \'a\' as a %}"]',
            "job.toml:8: sweep.prompt[1]: the template reads another one in line 1",
        ),
    ],
)
def test_what_is_wrong_with_a_template_is_told_with_file_and_line(
    bench: Bench, listener: Listener, request_table: str, words: str
) -> None:
    refused(bench, listener, request_table, words)


def test_a_template_of_the_command_line_stands_on_no_line(bench: Bench) -> None:
    bench.write("in.jsonl", {"question": "1 + 1?"})
    told = bench.run(job(bench, 'prompt = "{{ question }}"'), "--prompt", "{{ question", "--simulate", code=78).stderr
    assert told.startswith("batchrunner: the template is wrong in line 1")


def test_a_prompt_on_the_command_line_replaces_the_file_s_messages(bench: Bench, listener: Listener) -> None:
    bench.write("in.jsonl", {"q": "a"})
    path = job(bench, 'messages = [{ role = "user", content = "{{ other }}" }]')
    (body,) = ask(bench, listener, path, "--prompt", "{{ q }}!")
    assert body["messages"] == [{"role": "user", "content": "a!"}]


def test_a_conversation_of_a_row_is_sent_whole(bench: Bench, listener: Listener) -> None:
    turns = [
        {"role": "user", "content": "a", "name": "Ann"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "5"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.example/1.png"}}]},
    ]
    bench.write("in.jsonl", {"messages": turns})
    (body,) = ask(bench, listener, "in.jsonl", "-m", "m")
    assert body["messages"] == turns


def test_tools_come_from_the_job_or_with_a_conversation(bench: Bench, listener: Listener) -> None:
    own = {"type": "function", "function": {"name": "own"}}
    bench.write(
        "in.jsonl",
        {"prompt": "a"},
        {"prompt": "b", "tools": [own], "tool_choice": "required"},
        {"messages": [{"role": "user", "content": "c"}], "tools": json.dumps([own])},
        {"prompt": "d", "tools": ["hammer"]},
    )
    table = f"tools = {json.dumps([TOOL]).replace(': ', ' = ')}\ntool_choice = 'auto'"
    sent = ask(bench, listener, job(bench, table), code=1)
    assert [(body["tools"], body["tool_choice"]) for body in sent] == [
        ([TOOL], "auto"),
        ([own], "required"),
        ([own], "auto"),
    ]
    assert "`tools`" in errors(bench)[3]


def test_a_column_called_tools_is_no_tool_where_a_template_speaks(bench: Bench, listener: Listener) -> None:
    bench.write("in.jsonl", {"q": "a", "tools": ["hammer"]})
    (body,) = ask(bench, listener, "in.jsonl", "-m", "m", "--prompt", "{{ q }}: {{ tools[0] }}")
    assert "tools" not in body


def test_rows_set_the_parameters_that_the_job_lets_them_set(bench: Bench, listener: Listener) -> None:
    bench.write(
        "in.jsonl",
        {"prompt": "a", "temperature": 0.7, "max_tokens": 9, "top_p": 0.1},
        {"prompt": "b", "temperature": None},
        {"prompt": "c", "max_tokens": 7, "model": "acme/other"},
        {"custom_id": "d", "temperature": 1, "body": {"model": "m", "messages": [{"role": "user", "content": "d"}]}},
    )
    table = 'params = { temperature = 0, max_completion_tokens = 5 }\nrow_params = ["temperature", "max_tokens"]'
    sent = ask(bench, listener, job(bench, table))
    for body in sent:
        del body["messages"]
    assert sent == [
        {"model": "acme/small", "temperature": 0.7, "max_tokens": 9},
        {"model": "acme/small", "temperature": 0, "max_completion_tokens": 5},
        {"model": "acme/small", "temperature": 0, "max_tokens": 7},
        {"model": "m"},
    ]


def test_rows_may_name_their_model_where_the_job_says_so(bench: Bench, listener: Listener) -> None:
    bench.write("in.jsonl", {"prompt": "a", "model": "acme/one"}, {"prompt": "b", "model": "acme/two"}, {"prompt": "c"})
    path = bench.folder / "job.toml"
    path.write_text('input = "in.jsonl"\noutput = "in.results.jsonl"\n[request]\nrow_params = ["model"]\n')
    sent = ask(bench, listener, path, code=1)
    assert [body["model"] for body in sent] == ["acme/one", "acme/two"]
    assert "no model" in errors(bench)[2]


def test_the_parameters_of_a_csv_s_rows_are_what_their_texts_mean(bench: Bench, listener: Listener) -> None:
    header = "prompt,temperature,seed,stop,user,logit_bias,model,tool_choice\n"
    rows = 'a,0.7,3,END,7,"{""5"": -1}",acme/a,\nb,,,"[""x""]",,null,,none\n'
    (bench.folder / "in.csv").write_text(header + rows)
    table = 'row_params = ["temperature", "seed", "stop", "user", "logit_bias", "model"]'
    first, second = ask(bench, listener, job(bench, table, name="in.csv"))
    shared = {"model": "acme/small"}
    texts = {"stop": "END", "user": "7", "model": "acme/a"}
    assert first == first | texts | {"temperature": 0.7, "seed": 3, "logit_bias": {"5": -1}}
    assert second == shared | {"messages": [{"role": "user", "content": "b"}], "stop": ["x"], "tool_choice": "none"}


NAMES_NOTHING = 'row_params = ["seed", "temprature"]'


@pytest.mark.parametrize("name", ["in.csv", "in.parquet", "data/*.csv"])
def test_a_parameter_that_no_row_of_a_table_can_set_is_refused(bench: Bench, listener: Listener, name: str) -> None:
    (bench.folder / "data").mkdir()
    for path in ("in.csv", "data/1.csv"):
        (bench.folder / path).write_text("prompt,temperature\na,0.5\n")
    (bench.folder / "data/2.csv").write_text("prompt,seed\na,5\n")
    columns = {"prompt": ["a"], "temperature": [0.5], "seed": pa.array([None], pa.int8())}
    pq.write_table(pa.table(columns), bench.folder / "in.parquet")
    told = bench.run(job(bench, NAMES_NOTHING, name=name), "--base-url", listener.base_url, code=78).stderr
    missing = "'seed'" if name == "in.csv" else "'temprature'"
    assert f"The input has no column {missing}, which request.row_params names" in told
    assert "did you mean 'temperature'?" in told or missing == "'seed'"
    assert listener.bodies == []


def test_a_parameter_that_no_row_sets_is_told_where_later_rows_may(bench: Bench, listener: Listener) -> None:
    bench.write("in.jsonl", {"prompt": "a", "temperature": 1, "seed": 5}, {"prompt": "b"})
    words = "batchrunner: warning: none of the first 2 rows has a column 'temprature', which request.row_params names"
    told = bench.run(job(bench, NAMES_NOTHING), "--base-url", listener.base_url)
    assert told.stderr.startswith(f"{words}; did you mean 'temperature'?")
    assert "seed" not in told.stderr
    assert len(listener.bodies) == 2
    assert bench.run("job.toml", "-q", "--base-url", listener.base_url).stderr == ""


def test_a_parameter_whose_name_is_nearly_another_s_is_told(bench: Bench, listener: Listener) -> None:
    bench.write("in.jsonl", {"prompt": "a"})
    table = "params = { max_token = 5, top_k = 3, min_tokens = 1, own_one = 1 }"
    told = bench.run(job(bench, table), "--base-url", listener.base_url).stderr
    assert told.count("warning") == 1
    assert "batchrunner: warning: the parameter 'max_token' is sent as it is; did you mean 'max_tokens'?" in told
    assert listener.bodies[0]["max_token"] == 5


def test_an_empty_cell_of_a_table_sets_nothing(bench: Bench, listener: Listener) -> None:
    table = pa.table({"prompt": ["a", "b"], "temperature": [0.5, None], "seed": pa.array([None, 3], pa.int8())})
    pq.write_table(table, bench.folder / "in.parquet")
    sent = ask(bench, listener, job(bench, 'row_params = ["temperature", "seed"]', name="in.parquet"))
    assert [(body.get("temperature"), body.get("seed")) for body in sent] == [(0.5, None), (None, 3)]
    assert "temperature" not in sent[1]


def test_a_table_s_conversation_is_sent_without_the_members_a_message_has_not(bench: Bench, listener: Listener) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://x.example/1.png"}}
    text = {"type": "text", "text": "what is it?"}
    calls = [{"id": "1", "type": "function"}]
    turns = [
        {"role": "user", "content": [text, picture], "name": "Ann"},
        {"role": "assistant", "content": None, "tool_calls": calls},
    ]
    pq.write_table(pa.Table.from_pylist([{"messages": turns}]), bench.folder / "in.parquet")
    (body,) = ask(bench, listener, "in.parquet", "-m", "m")
    assert body["messages"] == turns


def with_image(url: object) -> dict[str, Any]:
    """A row with one image."""
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}


def pictures(bench: Bench) -> Path:
    """A folder with a picture, and what is not to be read around it."""
    folder = bench.folder / "images"
    (folder / "deep").mkdir(parents=True)
    (folder / "a b.gif").write_bytes(PIXEL)
    (folder / "deep" / "c.gif").write_bytes(PIXEL)
    (bench.folder / "secret.gif").write_bytes(b"secret")
    (folder / "link.gif").symlink_to(folder / "deep" / "c.gif")
    (folder / "out.gif").symlink_to(bench.folder / "secret.gif")
    (folder / "up").symlink_to(bench.folder)
    (folder / "round.gif").symlink_to(folder / "round.gif")
    (folder / "folder.gif").mkdir()
    os.mkfifo(folder / "fifo.gif")
    (folder / "large.gif").touch()
    os.truncate(folder / "large.gif", 21 * 1024 * 1024)
    return folder


def test_images_come_by_file_from_the_folder_that_is_named(bench: Bench, listener: Listener) -> None:
    folder = pictures(bench)
    names = ["a b.gif", "deep/c.gif", "./deep/../link.gif", "file:a%20b.gif", f"file://{folder}/deep/c.gif"]
    bench.write("in.jsonl", *map(with_image, names))
    sent = ask(bench, listener, "in.jsonl", "-m", "m", "--files", "images")
    urls = {body["messages"][0]["content"][0]["image_url"]["url"] for body in sent}
    assert len(sent) == len(names)
    assert urls == {"data:image/gif;base64," + base64.b64encode(PIXEL).decode()}


def test_other_parts_come_by_file_too_and_in_batch_lines(bench: Bench, listener: Listener) -> None:
    folder = bench.folder / "files"
    folder.mkdir()
    for name in ("a.pdf", "b.wav", "c.mp4"):
        (folder / name).write_bytes(b"\x00\xff")
    parts = [
        {"type": "file", "file": {"file_data": "file:a.pdf", "filename": "a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "file:b.wav", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "c.mp4"}},
        {"type": "input_audio", "input_audio": {"data": "AP8=", "format": "wav"}},
    ]
    body = {"model": "m", "messages": [{"role": "user", "content": parts}]}
    bench.write("in.jsonl", {"custom_id": "a", "body": body})
    job(bench, 'files = "files"')
    (sent,) = ask(bench, listener, "job.toml")
    assert sent["messages"][0]["content"] == [
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AP8=", "filename": "a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "AP8=", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AP8="}},
        {"type": "input_audio", "input_audio": {"data": "AP8=", "format": "wav"}},
    ]


def test_no_row_reads_what_is_outside_of_the_folder_or_no_file(bench: Bench, listener: Listener) -> None:
    pictures(bench)
    outside = ["../secret.gif", "out.gif", "up/secret.gif", f"file://{bench.folder}/secret.gif", "//etc/x.gif"]
    unfit = ["no.gif", "round.gif", "folder.gif", "fifo.gif", "large.gif", "/etc/passwd", "a\x00.gif", "deep"]
    bench.write("in.jsonl", *map(with_image, outside + unfit), with_image("a b.gif"))
    sent = ask(bench, listener, "in.jsonl", "-m", "m", "--files", "images", "--max-failed", "none", code=1)
    assert len(sent) == 1
    kinds = [row["error"] and row["error"]["kind"] for row in bench.output()]
    assert kinds == ["invalid_row"] * len(outside + unfit) + [None]
    assert all("secret" not in json.dumps(body) for body in sent)


def test_no_file_is_read_where_no_folder_is_named(bench: Bench, listener: Listener) -> None:
    pictures(bench)
    bench.write("in.jsonl", with_image("images/a b.gif"), with_image("https://x.example/a.gif"), with_image(5))
    sent = ask(bench, listener, "in.jsonl", "-m", "m", code=1)
    assert len(sent) == 2
    assert "--files" in errors(bench)[0]


def test_another_picture_under_the_same_name_is_another_question(bench: Bench, listener: Listener) -> None:
    folder = pictures(bench)
    bench.write("in.jsonl", with_image("a b.gif"))
    ask(bench, listener, "in.jsonl", "-m", "m", "--files", "images")
    (folder / "a b.gif").write_bytes(PIXEL + b"\x00")
    bench.write("in.jsonl", with_image("a b.gif"), with_image("deep/c.gif"))
    told = bench.run("in.jsonl", "-m", "m", "--files", "images", "--base-url", listener.base_url, code=65).stderr
    assert "1 changed" in told


def test_hostile_rows_and_templates_stay_in_the_sandbox(bench: Bench, listener: Listener) -> None:
    attack = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    bench.write("in.jsonl", {"q": attack})
    path = job(bench, 'messages = [{ role = "user", content = [{ type = "text", text = "{{ q }}" }] }]')
    (body,) = ask(bench, listener, path)
    assert body["messages"][0]["content"][0]["text"] == attack
    bench.write("in.jsonl", {"q": "x"})
    escaping = job(bench, f'messages = [{{ role = "user", content = "{attack}" }}]')
    bench.run(escaping, "--resume", "never", "--base-url", listener.base_url, code=1)
    assert "SecurityError" in errors(bench)[0]
    assert len(listener.bodies) == 1
