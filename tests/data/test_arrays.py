"""Reading .npy and .npz files that anyone may have made: what numpy wrote, and what an attacker would."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from zoo_core.data.arrays import only_array, read_array, read_headers
from zoo_core.errors import MachineError, UsageError

KINDS = ["?", "|u1", "<i2", ">i4", "<u8", "<f2", "<f4", ">f8"]


def _array(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    generator = np.random.default_rng(0)
    return (generator.random(shape) * 100).astype(np.dtype(kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (7, 3), (40, 2, 3, 4)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_numpy_wrote_is_read(tmp_path: Path, kind: str, shape: tuple[int, ...], order: str) -> None:
    expected = np.asarray(_array(kind, shape), order=order)
    np.save(tmp_path / "a.npy", expected)
    np.savez(tmp_path / "b.npz", first=expected, second=expected[..., None])
    np.savez_compressed(tmp_path / "c.npz", first=expected)
    for file, name in (("a.npy", ""), ("b.npz", "first"), ("c.npz", "first")):
        header = read_headers(tmp_path / file)[name]
        assert (header.shape, header.dtype) == (expected.shape, expected.dtype)
        found = read_array(tmp_path / file, name)
        assert found.dtype == expected.dtype.newbyteorder("=")
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, expected)
    assert list(read_headers(tmp_path / "b.npz")) == ["first", "second"]


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_are_those_of_numpy_in_any_order(tmp_path: Path, order: str) -> None:
    whole = np.asarray(_array("<f4", (3000, 30, 30)), order=order)  # more than ten blocks
    rows = np.random.default_rng(1).integers(0, 3000, 200)  # unsorted, some twice
    np.savez_compressed(tmp_path / "a.npz", samples=whole)
    np.testing.assert_array_equal(read_array(tmp_path / "a.npz", "samples", rows=rows), whole[rows])
    assert read_array(tmp_path / "a.npz", "samples", rows=rows[:0]).shape == (0, 30, 30)
    with pytest.raises(UsageError, match="3,000 rows"):
        read_array(tmp_path / "a.npz", "samples", rows=np.array([3000]))


def test_memory_is_bounded_by_what_is_asked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((1000, 10), np.float32))
    assert read_array(tmp_path / "a.npy", max_bytes=40_000).shape == (1000, 10)
    with pytest.raises(UsageError, match="40,000 bytes"):
        read_array(tmp_path / "a.npy", max_bytes=39_999)
    assert read_array(tmp_path / "a.npy", rows=np.arange(2), max_bytes=80).shape == (2, 10)


def _npy(header: str, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    form = "<H" if version == b"\x01\x00" else "<I"
    return b"\x93NUMPY" + version + struct.pack(form, len(header)) + header.encode("latin-1") + body


def _npz(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


GOOD = "{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }"
HUGE = "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 32, 32, 3), }"
OBJECT = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
HOSTILE = {
    "empty": b"",
    "text": b"hello",
    "magic only": b"\x93NUMPY",
    "truncated header": _npy(GOOD)[:20],
    "truncated body": _npy(GOOD, b"123"),
    "bytes after the body": _npy(GOOD, b"12345"),
    "claims 10^9 rows": _npy(HUGE, b"1234"),
    "rows of a negative number": _npy(GOOD.replace("4", "-4"), b""),
    "overflow to a small number": _npy(GOOD.replace("(4,)", f"({2**32}, {2**32}, 4)"), b""),
    "dimension of 10,000 digits": _npy(GOOD.replace("4", "9" * 3000), b""),
    "pickled objects": _npy(OBJECT, pickle.dumps([os.getcwd])),
    "structured type": _npy(GOOD.replace("'|u1'", "[('a', '<f4')]"), b"1234"),
    "complex type": _npy(GOOD.replace("|u1", "<c8"), b"1" * 32),
    "a call in the header": _npy("{'descr': __import__('os').getcwd(), 'shape': (4,)}", b"1234"),
    "nested brackets": _npy("(" * 4000 + ")" * 4000, b""),
    "key twice": _npy(GOOD.replace("'shape'", "'descr'"), b"1234"),
    "key missing": _npy("{'descr': '|u1', 'shape': (4,), }", b"1234"),
    "shape is a number": _npy(GOOD.replace("(4,)", "True"), b"1234"),
    "version 9": _npy(GOOD, b"1234", b"\x09\x00"),
    "header of 4 GB": b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
    "zip without members": _npz(),
    "zip of a text": _npz(("a.npy", b"hello")),
    "zip of a bomb": _npz(("a.npy", _npy(HUGE, b"1" * 10))),
    "zip with a name twice": _npz(("a.npy", _npy(GOOD, b"1234")), ("a.npy", _npy(GOOD, b"1234"))),
    "zip of 2,000 members": _npz(*((f"{k}.npy", b"") for k in range(2000))),
    "zip in another compression": _npz(("a.npy", _npy(GOOD, b"1234")), method=zipfile.ZIP_LZMA),
    "truncated zip": _npz(("a.npy", _npy(GOOD, b"1234")))[:-10],
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused(tmp_path: Path, case: str) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(HOSTILE[case])
    with pytest.raises(UsageError) as error:
        for name in read_headers(path):
            read_array(path, name)
        only_array(read_headers(path), ("samples",), path)
    assert len(str(error.value)) < 1000


def test_member_that_claims_more_than_deflate_can_hold(tmp_path: Path) -> None:
    content = bytearray(_npz(("a.npy", _npy(GOOD, b"1234"))))
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", 3_000_000_000)  # the uncompressed size
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UsageError, match="claims 3,000,000,000 bytes"):
        read_headers(tmp_path / "a.npz")


def test_member_that_claims_more_than_the_file_holds(tmp_path: Path) -> None:
    """Catches a false compressed size that makes any size of the array believable."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, samples=np.zeros((10, 10), np.float32))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 20 : entry + 24] = struct.pack("<I", len(content) + 1)
    path.write_bytes(content)
    with pytest.raises(
        UsageError, match=rf"claims {len(content) + 1} compressed bytes; the file has {len(content)}"
    ):
        read_headers(path)


def test_an_array_beyond_the_memory_is_a_fault_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", np.zeros((10, 10), np.float32))

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("zoo_core.data.arrays.np.empty", full)
    with pytest.raises(MachineError, match=r"not enough memory .*a\.npy"):
        read_array(tmp_path / "a.npy")


@pytest.mark.parametrize("seed", range(3))
def test_every_damaged_byte_is_refused_or_harmless(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    whole = bytearray(_npz(("a.npy", _npy(GOOD, b"1234")), ("b.npy", _npy(GOOD, b"5678"))))
    path = tmp_path / "a.npz"
    for place in generator.permutation(len(whole))[:150]:
        damaged = bytearray(whole)
        damaged[place] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            for name in read_headers(path):
                assert read_array(path, name).size <= 4
        except UsageError:
            pass


def test_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npy")
    for path in (tmp_path / "a.npy", tmp_path, Path("/dev/zero"), tmp_path / "absent.npy"):
        with pytest.raises(UsageError, match="regular file"):
            read_headers(path)
