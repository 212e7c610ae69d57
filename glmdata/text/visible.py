"""Text of others as it can be shown: nothing in it moves the cursor, turns the text round, or cannot be seen."""

__all__ = ["drawn", "visible"]

_UNSEEN = [0xAD, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF]
_SHOWN = {code: f"⟨U+{code:04X}⟩" for code in [*range(0x80, 0xA0), *_UNSEEN]}
_SHOWN |= {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"} | {0x7F: "␡", 9: "    "}
_WHITE = str.maketrans({"\n": "⏎", "\t": "⇥", "\r": "␍", " ": "·"})


def visible(text: str) -> str:
    """Controls and what cannot be seen are drawn, tabs are four spaces; newlines stay."""
    return text.translate(_SHOWN)


def drawn(text: str) -> str:
    """As `visible`, in one line: white space is drawn too."""
    return text.translate(_WHITE).translate(_SHOWN)
