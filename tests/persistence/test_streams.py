"""Models through binary file objects: the bytes of a file, from any stream, and errors that say what is wrong."""

import io

import pytest
from models import assert_same, small

from fastals import ImplicitALS
from fastals.persistence.streams import stream_writer


@pytest.fixture
def model(ratings):
    return small().fit(ratings)


def test_holds_what_a_file_holds(model, tmp_path):
    model.save(tmp_path / "model")
    stream = io.BytesIO()
    model.save(stream)
    assert stream.getvalue() == (tmp_path / "model").read_bytes()


def test_is_read_from_where_it_stands(model, tmp_path):
    stream = io.BytesIO()
    stream.write(b"before")
    model.save(stream)
    stream.seek(6)
    assert_same(ImplicitALS.load(stream), model)
    with open(tmp_path / "model", "wb") as file:
        model.save(file)
    with open(tmp_path / "model", "rb") as file:
        assert_same(ImplicitALS.load(file), model)
    assert_same(ImplicitALS.load(tmp_path / "model"), model)


class Pipe(io.RawIOBase):
    """A stream that cannot be sought, and gives a few bytes at a time."""

    def __init__(self, content: bytes):
        self.content = content

    def readable(self):
        return True

    def read(self, size=-1):
        part, self.content = self.content[:1000], self.content[1000:]
        return part


def test_needs_no_seeking(model):
    stream = io.BytesIO()
    model.save(stream)
    assert_same(ImplicitALS.load(Pipe(stream.getvalue())), model)


def test_errors_say_what_is_wrong(model, tmp_path):
    stream = io.BytesIO()
    model.save(stream)
    with pytest.raises(ValueError, match="cannot read the file object: it is truncated or damaged"):
        ImplicitALS.load(io.BytesIO(stream.getvalue()[:-30]))
    with pytest.raises(ValueError, match="mmap=True takes a path"):
        ImplicitALS.load(io.BytesIO(stream.getvalue()), mmap=True)
    with pytest.raises(TypeError, match="path must be a binary file object"):
        ImplicitALS.load(io.StringIO("text"))
    with pytest.raises(TypeError, match="path must be a path or a binary file object with a method write"):
        model.save(3)


def test_nothing_is_written_that_does_not_read_back():
    def refuse(file):
        raise OSError("damaged")

    target = io.BytesIO()
    with pytest.raises(OSError, match="damaged"), stream_writer(target, refuse) as file:
        file.write(b"some")
    assert target.getvalue() == b""


def test_a_stream_that_takes_less_is_an_error():
    class Short(io.BytesIO):
        def write(self, data):
            return super().write(data[:1])

    with pytest.raises(OSError, match="took 1 of 4 bytes"), stream_writer(Short(), lambda file: None) as file:
        file.write(b"some")
