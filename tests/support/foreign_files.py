"""Files of each format that the readers support, as bytes: valid ones, and many with one defect each."""

# ruff: noqa: E501 -- tables, a case per line

import gzip
import io
import struct
import zipfile
import zlib

import h5py
import numpy as np

NUMBERS = np.arange(24.0).reshape(4, 6)
IDX = b"\0\0\x08\x02" + struct.pack(">II", 3, 4) + bytes(range(12))
CSV = b"a,b,c\n1,2.5,-3e2\n4,.5,6.\n"


def npz(**arrays) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def zipped(members: dict, compression=zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H" if version[0] == 1 else "<I", len(text)) + text + data


def header(descr="'<f8'", shape="(2,)", fortran="False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


def hdf5(fill) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        fill(file)
    return out.getvalue()


def good_hdf5(file) -> None:
    file["x"] = np.arange(24, dtype="uint8").reshape(2, 3, 4)
    options = {"chunks": (30,), "compression": "gzip", "shuffle": True, "fletcher32": True}
    file.create_dataset("y", data=np.arange(100.0), **options)
    file["classes"] = np.array([b"non-cat", b"cat"])


def squeezed_hdf5() -> bytes:
    """A chunk that decompresses to 64 MiB in a data set of 800 bytes."""

    def fill(file):
        x = file.create_dataset("x", (100,), "f8", chunks=(100,), compression="gzip")
        x.id.write_direct_chunk((0,), zlib.compress(bytes(2**26), 9))

    return hdf5(fill)


GOOD = {
    "idx": {"plain": IDX, "gzip": gzip.compress(IDX), "nothing in it": b"\0\0\x08\x01" + bytes(4)},
    "npz": {"several": npz(a=NUMBERS, b=NUMBERS.T, c=np.array([True]), d=np.zeros((0, 3), "c8"), e=np.int8(3))},
    "csv": {"plain": CSV, "quoted, mark, CRLF": b'\xef\xbb\xbf"a","b, c",d\r\n"1",2,3\r\n\r\n4,5,6'},
    "hdf5": {"cats": hdf5(good_hdf5)},
}

BOMB = npy(header("'<f8'", f"({2**29},)"))
BAD = {  # file, text in the error
    "idx": {
        "empty": (b"", "it starts with nothing"),
        "text": (b"hello, world", "not an IDX file of bytes"),
        "short magic": (b"\0\0", "not an IDX file"),
        "floats": (b"\0\0\x0d\x01" + bytes(8), "not an IDX file of bytes"),
        "no sizes": (b"\0\0\x08\x03" + bytes(7), "ends within its header"),
        "too few": (IDX[:-1], "declares 12 bytes, got 11"),
        "too many": (IDX + b"x", "declares 12 bytes, got more"),
        "2^32 x 2^32": (b"\0\0\x08\x02" + b"\xff" * 8, "declares"),
        "2^32 x 2^32 x 0": (b"\0\0\x08\x03" + b"\xff" * 8 + bytes(4), "declares"),
        "255 sizes": (b"\0\0\x08\xff" + b"\xff" * 1020, "declares"),
        "gzip of half": (gzip.compress(IDX)[:-9], "cannot be read"),
        "gzip, bad sum": (gzip.compress(IDX)[:-6] + b"abcdef", "cannot be read"),
        "gzip of nothing": (gzip.compress(b""), "it starts with nothing"),
        "gzip 1000:1": (gzip.compress(IDX + bytes(2**26)), "got more"),
        "gzip magic only": (b"\x1f\x8b", "cannot be read"),
    },
    "npz": {
        "empty": (b"", "not a zip file"),
        "text": (b"hello, world", "not a zip file"),
        "no arrays": (zipped({}), "must contain 1 to 1000 arrays, got 0"),
        "half": (GOOD["npz"]["several"][: len(GOOD["npz"]["several"]) // 2], "not a zip file"),
        "179 bytes that declare 4 GiB": (zipped({"x.npy": BOMB}), "its header (float64, (536870912,)) declares 4,294"),
        "deflate 1000:1": (zipped({"x.npy": bytes(2**27 + 1)}), "more than 134,217,728"),
        "many of them": (zipped({f"{i}.npy": bytes(2**22) for i in range(40)}), "more than 134,217,728"),
        "pickle": (npz(x=np.array([{}, None], object)), "must hold numbers or booleans, got '|O'"),
        "text in it": (npz(x=np.array(["a", "b"])), "must hold numbers or booleans, got '<U1'"),
        "records": (npz(x=np.zeros(2, [("a", "f4")])), "must hold numbers or booleans"),
        "another file": (zipped({"x.txt": b"hello"}), "its name does not end in .npy"),
        "not an array": (zipped({"x.npy": b"hello, world"}), "is not an array of NumPy's format"),
        "no content": (zipped({"x.npy": b""}), "it starts with nothing"),
        "negative": (zipped({"x.npy": npy(header(shape="(-2,)"), bytes(16))}), "its header is not a valid NumPy header"),
        "true": (zipped({"x.npy": npy(header(shape="(True, 2)"), bytes(16))}), "its header is not a valid NumPy header"),
        "33 dimensions": (zipped({"x.npy": npy(header(shape="(1,) * 33"), bytes(8))}), "not a valid NumPy header"),
        "a call": (zipped({"x.npy": npy("__import__('os').abort()")}), "its header is not a valid NumPy header"),
        "parentheses": (zipped({"x.npy": npy("(" * 900)}), "its header is not a valid NumPy header"),
        "long header": (zipped({"x.npy": npy(" " * 5000)}), "more than 1000"),
        "huge header": (zipped({"x.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\xff"}), "more than 1000"),
        "too few": (zipped({"x.npy": npy(header(), bytes(15))}), "declares"),
        "too many": (zipped({"x.npy": npy(header(), bytes(17))}), "declares"),
        "two as boolean": (zipped({"x.npy": npy(header("'|b1'"), b"\x00\x02")}), "booleans must be 0 or 1"),
        "overflow": (zipped({"x.npy": npy(header(shape=f"({2**63}, {2**63}, 0, 9)"))}), "cannot be read"),
        "bad sum": (zipped({"x.npy": npy(header(), bytes(16))}, 0).replace(bytes(16), bytes(15) + b"!"), "Bad CRC"),
        "encrypted": (zipped({"x.npy": npy(header(), bytes(16))}).replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"), "encrypted"),
    },
    "csv": {
        "empty": (b"", "is empty"),
        "names alone": (b"a,b\n", "has no rows"),
        "short row": (b"a,b\n1,2\n3\n", "line 3: must have 2 fields, got 1"),
        "long row": (b"a,b\n1,2\n3,4\n1,2,3\n", "line 4: must have 2 fields, got 3"),
        "open quote": (b'a,b\n1,"2\n3,4\n', "line 2: a quoted field is not closed"),
        "after a quote": (b'a,b\n"1"2,3\n', "line 2: "),
        "NUL": (b"a,b\n1,\x002\n", "line 2: is not text: it contains a NUL"),
        "pictures": (bytes(range(256)) * 10, "is not text"),
        "long line": (b"a," * 6_000_000, "line 1: has more than 2,000,000 characters"),
        "many columns": (b"a," * 10_000 + b"b\n" + b"1," * 10_000 + b"2\n", "line 1: has 10,001 columns"),
        "gzip 1000:1": (gzip.compress(bytes(2**27)), "holds more than 67,108,864 bytes"),
        "half of gzip": (gzip.compress(CSV)[:-9], "cannot be read"),
        "half of Parquet": (b"PAR1" + bytes(100), "cannot be read"),
    },
    "hdf5": {
        "empty": (b"", "cannot be read"),
        "text": (b"hello, world" * 100, "cannot be read"),
        "half": (GOOD["hdf5"]["cats"][:3000], "cannot be read"),
        "no arrays": (hdf5(lambda file: file.create_group("x")), "has no data sets of numbers"),
        "nothing stored": (hdf5(lambda file: file.create_dataset("x", (1000,), "f8")), "declares 8,000 bytes, the file has 0"),
        "4 GiB": (hdf5(lambda file: file.create_dataset("x", (2**29,), "f8")), "more than 134,217,728"),
        "4 GiB in chunks": (hdf5(lambda file: file.create_dataset("x", (2**29,), "f8", chunks=(2**20,))), "more than"),
        "chunks missing": (hdf5(lambda file: file.create_dataset("x", (2**20,), "f8", chunks=(2**10,))), "the file has 0"),
        "great chunk": (hdf5(lambda file: file.create_dataset("x", (1,), "f8", chunks=(2**27,), maxshape=(None,))), "the file has 0"),
        "records": (hdf5(lambda file: file.create_dataset("x", data=np.zeros(2, [("a", "f4")]))), "must hold numbers"),
        "link": (hdf5(lambda file: file.__setitem__("x", h5py.SoftLink("/y"))), "is a link, not a data set"),
        "link out": (hdf5(lambda file: file.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/"))), "is a link, not a data set"),
        "stored elsewhere": (hdf5(lambda file: file.create_dataset("x", (4,), "u1", external=[("/etc/passwd", 0, 4)])), "stored in other files"),
        "lzf": (hdf5(lambda file: file.create_dataset("x", data=np.zeros(99), compression="lzf")), "uses unsupported filters"),
        "gzip 1000:1": (squeezed_hdf5(), "chunk 0 does not decompress to 800 bytes"),
        "lists": (hdf5(lambda file: file.create_dataset("x", (3,), h5py.vlen_dtype("f8"))), "has no data sets"),
    },
}  # fmt: skip
