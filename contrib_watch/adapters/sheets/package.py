"""A workbook's zip file, checked before anybody parses it: limits, checksums, and XML that only describes a sheet."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator

from contrib_watch.errors import UnreadableFile

MAX_UNPACKED_BYTES = 1 << 30
"""All parts of a workbook together, unpacked."""

MAX_RATIO = 250
"""Unpacked bytes for each packed one, over the whole file; Excel's own workbooks stay below 100."""

RATIO_FREE_BYTES = 64 << 20
"""Below this size unpacked, no ratio is suspicious."""

MAX_PARTS = 10_000

_CHUNK_BYTES = 1 << 20
_XML_ENDINGS = (".xml", ".rels", ".vml")
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_ENCODING = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)""")


class UnfinishedFile(UnreadableFile):
    """The zip is not whole: still being written, cut short, or damaged."""


class Package:
    """The parts of a workbook by their names, read from ``content`` with every size and checksum verified.

    Raises:
        UnfinishedFile: the zip is cut or damaged.
        UnreadableFile: it is not a workbook, is protected, or unpacks to more than the limits.
    """

    def __init__(self, content: bytes, filename: str) -> None:
        self.filename = filename
        self._content = content
        self._unchecked: dict[str, zipfile.ZipInfo] = {}
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                self._parts = {info.filename: info for info in archive.infolist()}
                listed = len(archive.infolist())
                comment = archive.comment
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError) as error:
            raise self._unfinished("its directory is missing or damaged") from error
        self._unchecked = dict(self._parts)
        # A directory whose last fields are not written yet reads as one of fewer parts.
        if not listed or (not comment and listed != int.from_bytes(content[-12:-10], "little")):
            raise self._unfinished("its directory is incomplete")
        self._refuse_ambiguous(listed, comment)
        self._refuse_bomb()
        self._refuse_other_kinds()

    def __contains__(self, name: str) -> bool:
        return name in self._parts

    def read(self, name: str) -> bytes:
        """A whole part, verified."""
        return b"".join(self._unpack(self._parts[name]))

    def read_xml(self, name: str) -> bytes:
        """A part that is plain UTF-8 XML: no DTD, entities, comments or CDATA, which no spreadsheet program writes.

        Readers differ on these, and a value split by one would be read in pieces.
        """
        if name not in self._parts:
            raise self.refuse(f'the workbook lacks its part "{name}"')
        text = self.read(name)
        declared = _ENCODING.search(text[:200])
        if declared is not None and declared[1].lower() not in {b"utf-8", b"us-ascii"}:
            raise self.refuse(f'its part "{name}" is written in {declared[1].decode()}, not UTF-8')
        if not text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            raise self.refuse(f'its part "{name}" is not XML in UTF-8')
        if _has_more_than_elements(text):
            raise self.refuse(f'its part "{name}" has a DTD, comments or other XML that Excel does not write')
        return text

    def check(self) -> None:
        """Verifies the parts that were not read yet, a piece at a time; none of them may have a DTD.

        Only the second reading parses some of these, and what it must not be given is refused here.
        """
        for info in list(self._unchecked.values()):
            is_xml = info.filename.endswith(_XML_ENDINGS)
            end = b""
            for piece in self._unpack(info):
                if is_xml and b"<!DOCTYPE" in end + piece:
                    raise self.refuse(f'its part "{info.filename}" has a DTD, which Excel does not write')
                end = piece[-len(b"<!DOCTYPE") :]

    def refuse(self, what: str) -> UnreadableFile:
        """The error for a workbook that nobody should read, with the usual way out."""
        return UnreadableFile(what, where=self.filename, hint="Open it in Excel and save it again as .xlsx")

    def _unfinished(self, what: str) -> UnfinishedFile:
        return UnfinishedFile(
            f"the workbook is cut short or damaged: {what}",
            where=self.filename,
            hint="Copy it again, or open it in Excel and save it again",
        )

    def _refuse_ambiguous(self, listed: int, comment: bytes) -> None:
        """Two readers must find the same parts: no name twice, nothing before or after the zip."""
        names = {name.casefold().replace("\\", "/") for name in self._parts}
        if listed != len(names):
            raise self.refuse("the workbook has two parts of one name")
        if comment or not self._content.startswith(b"PK\x03\x04"):
            raise self.refuse("the workbook's zip has something before or after it")

    def _refuse_bomb(self) -> None:
        unpacked = sum(info.file_size for info in self._parts.values())
        if unpacked > MAX_UNPACKED_BYTES or len(self._parts) > MAX_PARTS:
            raise self.refuse(
                f"the workbook unpacks to {unpacked:,} bytes in {len(self._parts):,} parts, and the limits are"
                f" {MAX_UNPACKED_BYTES:,} and {MAX_PARTS:,}"
            )
        if unpacked > RATIO_FREE_BYTES and unpacked > MAX_RATIO * len(self._content):
            raise self.refuse(f"the workbook unpacks to {unpacked:,} bytes, more than {MAX_RATIO} times its size")

    def _refuse_other_kinds(self) -> None:
        if "xl/workbook.xml" in self._parts and "[Content_Types].xml" in self._parts:
            return
        if "xl/workbook.bin" in self._parts:
            raise self.refuse("the file is in Excel's binary .xlsb format")
        if "content.xml" in self._parts:
            raise self.refuse("the file is an OpenDocument file (.ods)")
        if "EncryptedPackage" in self._parts:
            raise self.refuse("the workbook is protected with a password")
        raise self.refuse("the file is a zip file, but not an Excel workbook")

    def _unpack(self, info: zipfile.ZipInfo) -> Iterator[bytes]:
        """The part in pieces. The directory's sizes are the sender's word, so they are enforced, not believed."""
        packed = self._packed(info)
        size, checksum = 0, 0
        try:
            for piece in _inflate(packed) if info.compress_type == zipfile.ZIP_DEFLATED else [bytes(packed)]:
                size += len(piece)
                if size > info.file_size:
                    break
                checksum = zlib.crc32(piece, checksum)
                yield piece
        except zlib.error as error:
            raise self._unfinished(f'its part "{info.filename}" does not unpack') from error
        if size != info.file_size or checksum != info.CRC:
            raise self._unfinished(f'its part "{info.filename}" fails its checksum')
        self._unchecked.pop(info.filename, None)

    @staticmethod
    def _directory_name(info: zipfile.ZipInfo) -> bytes:
        """The name's bytes; without this flag they are in the code page of DOS (zip's APPNOTE, D.1)."""
        return info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")

    def _packed(self, info: zipfile.ZipInfo) -> memoryview:
        """The part's bytes as packed, where its local header says that they are."""
        if info.flag_bits & 0x1:
            raise self.refuse("the workbook's zip is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self.refuse("the workbook's zip is packed in a way that Excel does not use")
        header = self._content[info.header_offset : info.header_offset + _LOCAL_HEADER.size]
        if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
            raise self._unfinished(f'its part "{info.filename}" is not where the directory says')
        name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)[-2:]
        start = info.header_offset + _LOCAL_HEADER.size
        if self._content[start : start + name_bytes] != self._directory_name(info):
            raise self.refuse("the workbook's zip gives a part two names")
        start += name_bytes + extra_bytes
        packed = memoryview(self._content)[start : start + info.compress_size]
        if len(packed) != info.compress_size:
            raise self._unfinished(f'its part "{info.filename}" is cut short')
        return packed


def _has_more_than_elements(text: bytes) -> bool:
    """Whether there is ``<!`` anywhere, or ``<?`` elsewhere than at the beginning.

    Looked for by their rare second bytes first, which is many times faster than for two among a sheet's ``<``.
    """
    begin = text.find(b"<")
    end = text.find(b">", begin) + 1  # of the declaration, if there is one
    return (
        (b"!" in text and b"<!" in text)
        or text.rfind(b"<?", 0, end) > begin
        or (text.find(b"?", end) >= 0 and text.find(b"<?", end) >= 0)
    )


def _inflate(packed: memoryview) -> Iterator[bytes]:
    """Deflated bytes, unpacked at most ``_CHUNK_BYTES`` at a time; ends early where the stream ends early."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    pending: bytes | memoryview = packed
    while not stream.eof:
        piece = stream.decompress(pending, _CHUNK_BYTES)
        pending = stream.unconsumed_tail
        if not piece and not pending:
            return
        yield piece
