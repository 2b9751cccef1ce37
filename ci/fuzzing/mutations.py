"""Mutations of valid inputs: of bytes, of text, and of the structure of each format.

Each is a pure function (generator, valid bytes) -> bytes. The size of what it returns is at most `LARGEST`.
"""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zipfile
import zlib
from typing import Any

LARGEST = 2 << 20
SENTINEL = "zoo_fuzz_sentinel"
"""Name that every payload which would run code uses: the driver's audit hook looks for it."""

NUMBERS = (
    "0", "-1", "1", "2", "1e999", "-1e999", "nan", "NaN", "Infinity", "-Infinity", ".inf", ".nan", "1e308",
    "-1e308",
    "1e-320", "4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551616", "1e18",
    "1000000000000", "0x10", "0o7", "010", "1_000", "12:30:00", "1.5", "-0.0", "9" * 400, "9" * 5000,
    "1e" + "9" * 30,
)  # fmt: skip
STRINGS = (
    "", " ", "null", "none", "true", "no", "~", "{}", "[]", "[", "{", "}", "]", "[[[[", "[1, 2", "{a: 1",
    "'", '"', ",",
    "a,b,c", "[0.5,0.9]", "../../etc/passwd", "/etc/passwd", "/dev/zero", "file:///etc/passwd", "hf://a/b",
    "\x00",
    "\ud800", "\u202e", "раypal", "ﬁ", "é" * 40, "a" * 70_000, "\x1b[31m", "%s%n{0}", "__class__",
    "__proto__",
    "<script>alert(1)</script>", "=cmd()", "!!timestamp 2020-99-99", "!!timestamp x", "!!binary x",
    "!!float x",
    "!!bool maybe", "!!int [1]", "!!map [1]", "!!seq {a: 1}", "!!str {a: 1}", "!!set {a, b}", "!!omap [a: 1]",
    "&a [*a]", "*unknown", "&a 1", "<<: {a: 1}", "!!merge <<: {a: 1}", "? [a]\n: b", "? {a: 1}\n: b",
    "!<x> y", "! x",
    "--- a\n--- b", "%YAML 9.9\n---\na", "%TAG ! tag:x:\n---\na", "- - - - - a", "a: b: c", "\t- a",
    "|\n a", ">9\n a",
    f"!!python/object/apply:os.mkdir ['{SENTINEL}']", f"!!python/name:os.{SENTINEL}",
    f"!!python/module:{SENTINEL}",
    f"__import__('os').mkdir('{SENTINEL}')", f"$(mkdir {SENTINEL})", f"${{jndi:ldap://{SENTINEL}}}",
)  # fmt: skip
BYTES = (
    b"\x00", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\x80\x02", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY",
    b"\x89PNG\r\n\x1a\n", b"\xed\xa0\x80", b"\n" * 50, b"[" * 3000, b"{" * 3000, b'{"a":' * 2000,
    b"- " * 3000, b"\r", b"\x1b",
    f"cos\nmkdir\n(S'{SENTINEL}'\ntR.".encode(),
    f"\x80\x02cposix\nmkdir\nX\x11\x00\x00\x00{SENTINEL}\x85R.".encode("latin-1"),
)  # fmt: skip


def text(rng: random.Random, *extra: str) -> str:
    """Return a hostile string or number, or a random short string."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(NUMBERS)
    if kind == 1 and extra:
        return rng.choice(extra)
    if kind == 2:
        return "".join(
            chr(rng.choice((rng.randrange(32, 127), rng.randrange(0x300)))) for _ in range(rng.randrange(12))
        )
    return rng.choice(STRINGS)


def value(rng: random.Random, depth: int = 0) -> Any:
    """Return hostile plain data: numbers, strings, lists and mappings, some of them deep or long."""
    kind = rng.randrange(9)
    if kind < 2:
        return text(rng)
    if kind == 2:
        return rng.choice((0, -1, 1, 2**31, 2**63, 2**64, 10**30, 10**400, -(2**63), True, False, None))
    if kind == 3:
        return rng.choice((0.0, -0.0, 1e308, -1e308, 5e-324, 0.5, float("inf"), float("nan")))
    if kind == 4 and depth < 3:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 5 and depth < 3:
        return {text(rng)[:200]: value(rng, depth + 1) for _ in range(rng.randrange(4))}
    if kind == 6:
        nested: Any = 1
        for _ in range(rng.choice((10, 70, 400))):
            nested = [nested] if rng.random() < 0.5 else {"a": nested}
        return nested
    if kind == 7:
        return [rng.choice((1, "a", None, {}))] * rng.choice((0, 100, 20_000))
    return {f"k{number}": number for number in range(rng.choice((0, 10, 5000)))}


def of_bytes(rng: random.Random, valid: bytes) -> bytes:
    """Flip, cut, repeat, insert and overwrite bytes."""
    made = bytearray(valid)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 20))):
        size = len(made)
        start = rng.randrange(size + 1)
        end = min(size, start + rng.choice((1, 2, 4, 8, 64, 1000)))
        kind = rng.randrange(7)
        if kind == 0 and size:
            made[start % size] ^= 1 << rng.randrange(8)
        elif kind == 1 and size:
            made[start % size] = rng.randrange(256)
        elif kind == 2:
            del made[start:end]
        elif kind == 3:
            del made[start:]
        elif kind == 4:
            made[start:start] = made[start:end] * rng.choice((1, 2, 50, 1000))
        elif kind == 5:
            made[start:start] = rng.choice(BYTES)
        else:
            made[start:end] = rng.randbytes(end - start)
        del made[LARGEST:]
    return bytes(made)


def of_text(rng: random.Random, valid: bytes) -> bytes:
    """Replace words and numbers by hostile ones, insert lines, repeat lines."""
    made = valid.decode("utf-8", "replace")
    for _ in range(rng.choice((1, 1, 2, 4))):
        kind = rng.randrange(4)
        found = list(re.finditer(r"[\w.+-]+", made[:20_000]))
        if kind < 2 and found:
            place = rng.choice(found)
            made = made[: place.start()] + text(rng) + made[place.end() :]
            continue
        lines = made.split("\n")
        line = rng.randrange(len(lines))
        indent = re.match(r"\s*", lines[line])
        if kind == 2:
            lines.insert(line, (indent[0] if indent else "") + rng.choice(("", "- ", "k: ")) + text(rng))
        else:
            lines[line:line] = [lines[line]] * rng.choice((1, 2, 100))
        made = "\n".join(lines)[:LARGEST]
    return made.encode("utf-8", "surrogatepass")[:LARGEST]


def of_yaml(rng: random.Random, valid: bytes) -> bytes:
    """Bombs of aliases, depth and count around the document, or mutations of its text."""
    kind = rng.randrange(8)
    if kind == 0:
        rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        width = rng.choice((2, 9))
        rows += [
            f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * width)}]" for k in range(1, rng.choice((3, 9, 40)))
        ]
        return ("\n".join(rows) + "\n").encode() + valid
    if kind == 1:
        count = rng.choice((60, 70, 5000, 100_000))
        return valid + b"\nk: " + rng.choice((b"[", b"{a: ", b"!!seq [")) * count
    if kind == 2:
        unit = rng.choice(("a, ", "{}, ", "[], ", "'x', ", "1, ", "&a 1, "))
        return valid + b"\nk: [" + (unit * rng.choice((10, 10_000, 200_000))).encode()[:LARGEST] + b"]"
    if kind == 3:
        lines = "".join(
            f"{rng.choice(('- ', '? ', '  ' * (k % 40) + '- '))}" for k in range(rng.choice((10, 3000)))
        )
        return valid + b"\nk:\n" + lines.encode()
    return of_text(rng, valid)


def _walk(document: Any) -> list[tuple[Any, Any]]:
    """Return (container, key) of each value in a document, of a container that occurs repeatedly once."""
    places: list[tuple[Any, Any]] = []
    left, seen = [document], set()
    while left:
        at = left.pop()
        if isinstance(at, dict | list):
            if id(at) in seen:
                continue
            seen.add(id(at))
        keys = at.keys() if isinstance(at, dict) else range(len(at)) if isinstance(at, list) else ()
        for key in keys:
            places.append((at, key))
            left.append(at[key])
    return places


def of_json(rng: random.Random, valid: bytes) -> bytes:
    """Replace, remove, add, rename and repeat values of a JSON document, or mutate its text."""
    if rng.random() < 0.25:
        return of_text(rng, valid)
    document = json.loads(valid)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = _walk(document)
        if not places:
            return json.dumps(value(rng)).encode()
        holder, key = rng.choice(places)
        kind = rng.randrange(6)
        if kind < 3:
            holder[key] = value(rng)
        elif kind == 3:
            del holder[key]
        elif isinstance(holder, dict):
            holder[text(rng)[:200] if kind == 4 else rng.choice(list(holder))] = value(rng)
        else:
            # A value that is repeated is one object: a second 1000 would make a million places of it.
            holder += [holder[key]] * (rng.choice((1, 1000)) if len(places) < 1000 else 1)
    made = json.dumps(document, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.1:  # a key twice, which dumps cannot write
        made = made.replace("{", '{"a": 1, "a": 2, ', 1)
    return made.encode("utf-8", "surrogatepass")[:LARGEST]


def npy(header: str, body: bytes, version: tuple[int, int] = (1, 0), claimed: int | None = None) -> bytes:
    """Return an .npy file with any header."""
    text_ = header.encode("utf-8", "surrogatepass")
    size = len(text_) if claimed is None else claimed
    form = "<H" if version == (1, 0) else "<I"
    return (
        b"\x93NUMPY"
        + bytes(version)
        + struct.pack(form, size % (1 << 8 * struct.calcsize(form)))
        + text_
        + body
    )


def of_npy(rng: random.Random, valid: bytes) -> bytes:
    """Rewrite the header of an .npy file: types, shapes, versions, code, or mutate its bytes."""
    if rng.random() < 0.4 or valid[:6] != b"\x93NUMPY":
        return of_bytes(rng, valid)
    kinds = (
        "|u1",
        "<f4",
        ">f8",
        "|O",
        "<c8",
        "<U4",
        "|V8",
        "<M8[ns]",
        "<f16",
        "[('a', '<f4')]",
        "<i9",
        text(rng),
    )
    sizes = (0, 1, 3, 4, 8, 28, -1, 2**31, 2**32, 2**63, 2**64, 10**9, 10**30)
    shape = tuple(rng.choice(sizes) for _ in range(rng.randrange(5)))
    header = "{'descr': %s, 'fortran_order': %s, 'shape': %s, }" % (  # noqa: UP031 - as numpy writes it
        repr(rng.choice(kinds)), rng.choice(("False", "True", "1",
        "None")), rng.choice((shape, [3], 7, text(rng)))
    )  # fmt: skip
    if rng.random() < 0.2:
        header = rng.choice((header.replace("}", text(rng)), "(" * 3000, "{" * 200, text(rng), header * 20))
    version = rng.choice(((1, 0), (1, 0), (2, 0), (3, 0), (0, 0), (255, 255)))
    claimed = rng.choice((None, None, None, 0, 65_535, 2**32 - 1))
    return npy(header, rng.randbytes(rng.choice((0, 4, 1000))), version, claimed)


def of_zip(rng: random.Random, valid: bytes) -> bytes:
    """Write a zip of mutated members, hostile names and false sizes, or mutate its bytes."""
    if rng.random() < 0.4:
        return of_bytes(rng, valid)
    try:
        with zipfile.ZipFile(io.BytesIO(valid)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except (zipfile.BadZipFile, ValueError):
        return of_bytes(rng, valid)
    names = (
        "../../x.npy",
        "/etc/x.npy",
        "a\x00b.npy",
        "a.npy",
        "a.npy",
        ".npy",
        "é.npy",
        "x" * 3000 + ".npy",
        "samples.npy",
    )
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members * rng.choice((1, 1, 2)):
            mutated = of_npy(rng, content) if rng.random() < 0.7 else content
            archive.writestr(name if rng.random() < 0.6 else rng.choice(names), mutated)
        for number in range(rng.choice((0, 0, 0, 3, 1500))):
            archive.writestr(f"m{number}.npy", b"", zipfile.ZIP_STORED)
    made = bytearray(file.getvalue())
    if rng.random() < 0.4:  # false sizes, flags and offsets in the directory
        place = made.find(b"PK\x01\x02")
        field, form = rng.choice(((8, "<H"), (10, "<H"), (20, "<I"), (24, "<I"), (28, "<H"), (42, "<I")))
        if 0 <= place < len(made) - 46:
            most = 2 ** (8 * struct.calcsize(form)) - 1
            struct.pack_into(form, made, place + field, rng.choice((0, 1, most, most // 2)))
    return bytes(made)


def of_safetensors(rng: random.Random, valid: bytes) -> bytes:
    """Rewrite the JSON header of a safetensors file, its length, or its bytes."""
    if rng.random() < 0.3 or len(valid) < 9:
        return of_bytes(rng, valid)
    size = int.from_bytes(valid[:8], "little")
    header = json.loads(valid[8 : 8 + size])
    names = [name for name in header if name != "__metadata__"]
    for _ in range(rng.choice((1, 1, 2))):
        kind = rng.randrange(6)
        entry = header.get(rng.choice(names)) if names else None
        if kind == 0 and entry:
            entry["dtype"] = rng.choice(
                ("F16", "F64", "I64", "BOOL", "BF16", "U8", "F8_E4M3", "X", text(rng))
            )
        elif kind == 1 and entry:
            entry["shape"] = rng.choice(([], [0], [-1], [2**63], [2**32, 2**32], [1.5], "a", [1] * 50, None))
        elif kind == 2 and entry:
            entry["data_offsets"] = rng.choice(([0, 0], [0, 2**64], [5, 1], [0], [-1, 4], None))
        elif kind == 3 and names:
            header.pop(rng.choice(names), None)
        elif kind == 4:
            header[text(rng)[:100]] = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        else:
            header["__metadata__"] = rng.choice(({"zoo": "["}, {"zoo": 1}, [], value(rng)))
    text_ = json.dumps(header).encode("utf-8", "surrogatepass")[:LARGEST]
    claimed = rng.choice((len(text_), len(text_), len(text_), 0, 2**62, 2**64 - 1, len(text_) + 5))
    return claimed.to_bytes(8, "little") + text_ + valid[8 + size :]


def of_image(rng: random.Random, valid: bytes) -> bytes:
    """Change the size, type and chunks of a PNG with right checksums, or mutate the bytes of any image."""
    if valid[:8] != b"\x89PNG\r\n\x1a\n" or rng.random() < 0.5:
        return of_bytes(rng, valid)
    chunks: list[tuple[bytes, bytearray]] = []
    at = 8
    while at + 8 <= len(valid):
        size = int.from_bytes(valid[at : at + 4], "big")
        chunks.append((valid[at + 4 : at + 8], bytearray(valid[at + 8 : at + 8 + size])))
        at += 12 + size
    sizes = (0, 1, 8, 30_000, 2**16, 2**31 - 1, 2**32 - 1)
    if rng.random() < 0.7:
        struct.pack_into(">II", chunks[0][1], 0, rng.choice(sizes), rng.choice(sizes))
    if rng.random() < 0.5:
        chunks[0][1][rng.randrange(8, 13)] = rng.randrange(256)
    if rng.random() < 0.3:
        name = rng.choice((b"iCCP", b"zTXt", b"iTXt", b"eXIf", b"tRNS", b"PLTE", b"acTL", b"fcTL"))
        content = rng.choice((b"", rng.randbytes(50), b"a\0\0" + zlib.compress(b"\0" * 1_000_000)))
        chunks.insert(rng.randrange(1, len(chunks)), (name, bytearray(content)))
    made = b"\x89PNG\r\n\x1a\n"
    for kind, chunk in chunks:
        body = kind + chunk
        made += len(chunk).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return made
