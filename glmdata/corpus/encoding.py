"""What is told of bytes that are not UTF-8."""

__all__ = ["not_utf8"]

LOOKED_AT = 4096


def not_utf8(data: bytes, error: UnicodeDecodeError, what: str) -> str:
    """The reason for a refusal: where, and GB18030 if the bytes read as Chinese in it, the commonest cause.

    Example: two characters in GBK -> "invalid UTF-8 at byte 0 of the line; it reads as GB18030: convert ...".
    """
    reason = f"invalid UTF-8 at byte {error.start} of {what}"
    head = data[error.start : error.start + LOOKED_AT]
    text = head.decode("gb18030", "ignore")
    # The common characters of GB2312 are nearly all of real text; random bytes fall all over GB18030.
    odd = [character for character in text if not character.isascii()]
    if len(odd) >= 2 and sum(_is_common(character) for character in odd) > 0.9 * len(odd):
        reason += "; it reads as GB18030: convert the file with iconv -f gb18030 -t utf-8"
    return reason


def _is_common(character: str) -> bool:
    """A Chinese mark, or a character of GB2312's first level (3,755 common ones)."""
    if character in "，。、；：？！“”‘’（）《》…—·　":
        return True
    try:
        code = character.encode("gb2312")
    except UnicodeEncodeError:
        return False
    return len(code) == 2 and 0xB0 <= code[0] <= 0xD7
