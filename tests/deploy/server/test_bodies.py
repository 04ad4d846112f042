import base64
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plusx.deploy.server.bodies import NAME, shown, take_apart, whole_number
from plusx.deploy.server.faults import Fault
from plusx.deploy.server.settings import Settings

SETTINGS = Settings(images=8)
FIELDS = ("top_k", "model")
FORM = "multipart/form-data; boundary=XyZ"


def form(*parts: tuple[str, bytes], boundary: bytes = b"XyZ") -> bytes:
    pieces = [b"--" + boundary + b"\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n" for head, content in parts]
    return b"".join(pieces) + b"--" + boundary + b"--\r\n"


def file(name: str, content: bytes) -> tuple[str, bytes]:
    return f'Content-Disposition: form-data; name="files"; filename="{name}"', content


def apart(body: bytes, content_type: str = FORM) -> list[tuple[str, bytes]]:
    return [(each.name, each.raw) for each in take_apart(content_type, body, SETTINGS, FIELDS).images]


def status(body: bytes, content_type: str = FORM) -> int:
    with pytest.raises(Fault) as fault:
        take_apart(content_type, body, SETTINGS, FIELDS)
    assert fault.value.sentence and "\n" not in fault.value.sentence
    return fault.value.status


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=8))
@example([b"\r\n", b"--XyZ", b"\r\n--Xy", b"", b"--"])
def test_a_form_gives_back_every_byte(contents: list[bytes]) -> None:
    contents = [content.replace(b"--XyZ", b"--Xyz") for content in contents]  # a client chooses another boundary
    body = form(*(file(f"{number}.png", content) for number, content in enumerate(contents)))
    assert apart(body) == [(f"{number}.png", content) for number, content in enumerate(contents)]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=100), min_size=1, max_size=8))
def test_json_gives_back_every_byte(contents: list[bytes]) -> None:
    body = json.dumps({"images": [base64.b64encode(content).decode() for content in contents]}).encode()
    found = apart(body, "application/json; charset=utf-8")
    assert [raw for _, raw in found] == contents


@settings(deadline=None)
@given(st.binary(max_size=400), st.sampled_from([FORM, "application/json", "text/plain", "", "multipart/form-data"]))
@example(b"[" * 100_000, "application/json")
@example(b"9" * 10_000, "application/json")
@example(b'{"images": ["\xc3\xa9"]}', "application/json")
@example(b'{"images": [], "top_k": NaN}', "application/json")
@example(b"\xff\xfe{\x00", "application/json")
def test_any_body_is_taken_apart_or_refused_in_a_sentence(body: bytes, content_type: str) -> None:
    try:
        take_apart(content_type, body, SETTINGS, FIELDS)
    except Fault as fault:
        assert fault.status in (400, 413, 415)
        assert fault.sentence and fault.sentence.isprintable()


@settings(deadline=None)
@given(st.data())
def test_a_form_cut_off_anywhere_is_refused(data: st.DataObject) -> None:
    body = form(file("a.png", b"123"), file("b.png", b"456"))
    whole = body.rindex(b"--\r\n") + 2
    assert status(body[: data.draw(st.integers(0, whole - 1))]) == 400


def test_fields_of_a_form_and_of_json() -> None:
    body = form(('Content-Disposition: form-data; name="top_k"', b"3"), file("a", b"x"))
    assert take_apart(FORM, body, SETTINGS, FIELDS).fields == {"top_k": "3"}
    content = {"images": ["eA=="], "names": ["a"], "top_k": 3, "model": "pets"}
    assert take_apart("application/json", json.dumps(content).encode(), SETTINGS, FIELDS).fields == {
        "top_k": 3,
        "model": "pets",
    }


@pytest.mark.parametrize(
    "head",
    [
        'Content-Disposition: form-data; name="files"; filename="../../etc/passwd"',
        "content-disposition:form-data;name=files;filename=../../etc/passwd",
        "Content-Type: image/png\r\nContent-Disposition: form-data; filename=../../etc/passwd; name=files",
        "Content-Disposition: form-data; name=files; filename*=UTF-8''..%2F..%2Fetc%2Fpasswd",
    ],
)
def test_a_name_is_only_a_name(head: str) -> None:
    assert apart(form((head, b"x"))) == [("../../etc/passwd", b"x")]


def test_an_image_without_a_name_gets_one() -> None:
    assert apart(form(('Content-Disposition: form-data; name="files"', b"x"))) == [("image 1", b"x")]


@settings(deadline=None)
@given(st.text(max_size=300))
def test_shown_names_can_be_printed(name: str) -> None:
    assert shown(name).isprintable()
    assert len(shown(name)) <= NAME
    shown(name).encode()


@pytest.mark.parametrize(
    ("body", "is_status"),
    [
        (form(*[file("a", b"x")] * 9), 413),
        (form(*[('Content-Disposition: form-data; name="top_k"', b"1")] * 30), 413),
        (form(('Content-Disposition: form-data; name="top_k"', b"1" * 2000), file("a", b"x")), 400),
        (form(*[('Content-Disposition: form-data; name="top_k"', b"1")] * 2, file("a", b"x")), 400),
        (form(('Content-Disposition: form-data; name="file"', b"x")), 400),
        (form(("X: " + "y" * 10_000, b"x")), 400),
        (form(("Content-Disposition: form-data", b"x")), 400),
        (form(), 400),
        (b"", 400),
        (form(file("a", b"x"), boundary=b"other"), 400),
    ],
)
def test_forms_that_are_refused(body: bytes, is_status: int) -> None:
    assert status(body) == is_status


@pytest.mark.parametrize(
    ("body", "is_status"),
    [
        ("[]", 400),
        ("{}", 400),
        ('{"images": []}', 400),
        ('{"images": "aGk="}', 400),
        ('{"images": [1]}', 400),
        ('{"images": ["aGk="], "names": ["a", "b"]}', 400),
        ('{"images": ["aGk="], "names": "a"}', 400),
        ('{"images": ["aGk="], "image": 1}', 400),
        ('{"images": ["aGk="], "top_k": NaN}', 400),
        (json.dumps({"images": ["aGk="] * 9}), 413),
        ("{", 400),
    ],
)
def test_json_that_is_refused(body: str, is_status: int) -> None:
    assert status(body.encode(), "application/json") == is_status


def test_a_fault_of_base64_is_the_images_own() -> None:
    asked = take_apart("application/json", b'{"images": ["aGk=", "a", "a\\u00e9==", "data:,"]}', SETTINGS, FIELDS)
    assert [each.fault is None for each in asked.images] == [True, False, False, False]


@pytest.mark.parametrize(
    "value", [0, -1, True, 1.5, "1.5", "x", "", [1], {}, float("inf"), float("nan"), "9" * 30, "٣"]
)
def test_what_is_no_whole_number(value: object) -> None:
    with pytest.raises(Fault):
        whole_number(value, "top_k", default=5)


def test_no_body_is_dear_to_take_apart() -> None:
    """A body that nearly has the boundary everywhere takes little longer than one that never has."""
    import time

    def seconds(content: bytes) -> float:
        began = time.thread_time()
        take_apart(FORM, form(file("a", content)), SETTINGS, FIELDS)
        return time.thread_time() - began

    size = 2**22
    assert seconds((b"\r\n--Xy" * size)[:size]) < 0.5
