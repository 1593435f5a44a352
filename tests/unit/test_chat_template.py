"""Chat templates of model files become texts between turns, or a remark; none can hurt."""

from __future__ import annotations

import pytest

from brainc.frontends.gguf.chat_template import reduced, turns

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFAULT = "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}" + CHATML
MERGED = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first = messages[0]['content'] + '\n\n' -%}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {%- set first = '' -%}
    {%- set rest = messages -%}
{%- endif -%}
{%- for m in rest -%}
    {%- set role = 'model' if m['role'] == 'assistant' else m['role'] -%}
    {{ '<turn>' + role + '\n' + (first if loop.first else '') }}{{ m['content'] | trim }}{{ '<end>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<turn>model\n' }}{%- endif -%}"""
ALTERNATING = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ m.content + eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)
WORDS = {"bos_token": "<s>", "eos_token": "</s>"}


def test_roles_between_marks() -> None:
    chat, remark = reduced(CHATML, WORDS)
    assert chat is not None and remark == "" and not chat.trims
    wanted = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n U <|im_end|>\n<|im_start|>assistant\n"
    assert chat.text(turns(" U ", system="S")) == wanted
    assert chat.opening == "<|im_start|>user\n"


def test_a_system_prompt_that_the_template_brings() -> None:
    chat, _ = reduced(DEFAULT, WORDS)
    assert chat is not None and chat.opening == "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n"
    assert chat.text(turns("U", system="S")).count("system") == 1


def test_a_system_prompt_in_the_users_first_turn_and_trimmed_texts() -> None:
    chat, remark = reduced(MERGED, WORDS)
    assert chat is not None and remark == "" and chat.trims
    assert chat.text(turns(" U ", system="S")) == "<s><turn>user\nS\n\nU<end>\n<turn>model\n"
    assert chat.text(turns("U", "A", "V")) == (
        "<s><turn>user\nU<end>\n<turn>model\nA<end>\n<turn>user\nV<end>\n<turn>model\n"
    )


def test_a_template_without_system_prompts() -> None:
    chat, remark = reduced(ALTERNATING, WORDS)
    assert chat is not None and chat.system is None and "no system prompt" in remark
    assert chat.text(turns("U", "A", "V")) == "<s>[INST] U [/INST]A</s>[INST] V [/INST]"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% if %}", "cannot be read"),
        ("{{ raise_exception('no') }}", "refuses a plain conversation"),
        ("{{ ''.__class__.__mro__ }}", "refuses"),
        ("{{ messages[0].content }}", "more than"),
        ("{% for m in messages %}{{ m.content * 2 }}{% endfor %}", "more than"),
        ("{% for m in messages %}[{{ loop.index }}]{{ m.content }}{% endfor %}", "last turn"),
        ("{% for m in messages %}{{ '|' + m.content | upper }}{% endfor %}", "more than"),
        ("{% for m in messages %}{{ '|' + m.content | replace('2', '3') }}{% endfor %}", "more than"),
        ("x" * 70_000, "characters"),
        ("{{ 'a' * 2000000000 }}", "too much memory"),
        ("{{ 'a' * 100000 }}", "characters"),
        ("{{ '\\ud800' }}", "no text"),
        ("{% for m in messages %}{{ '\\0|' + m.content }}{% endfor %}", "no text"),
        ("{% for a in b %}" * 60 + "{% endfor %}" * 60, "cannot be read"),
        ("{% set x = namespace(v='ab') %}{% for i in range(99) %}{% set x.v = x.v ~ x.v %}{% endfor %}", "memory"),
        ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}" * 4, "takes too long"),
    ],
)
def test_what_cannot_be_reduced_is_said(template: str, why: str) -> None:
    chat, remark = reduced(template, WORDS)
    assert chat is None and why in remark and "only continue texts" in remark
