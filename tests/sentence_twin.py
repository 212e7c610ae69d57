"""A plain twin of the sentence splitter: its rules on Python strings, one character at a time."""

import re
from itertools import pairwise

from glmdata.text import sentence_rules as rules


def a_class(characters: str) -> str:
    return f"[{re.escape(characters)}]"


MARKS = rules.FINALS + rules.WIDES + ".…"

NUMBER = f"[0-9{rules.NUMERALS}]{{1,3}}"

RUN = re.compile(rf"{a_class(MARKS)}(?:{a_class(MARKS)}| +[.?!](?![A-Za-z0-9]))*")

SPACE = re.compile(f"[{rules.SPACES}{rules.BREAKS}]*")

CLOSERS, OPENERS, HEAD = (re.compile(a_class(s) + "*") for s in (rules.CLOSERS, rules.OPENERS, rules.MARKUP))

ITEM = re.compile(
    f"{a_class(rules.BULLETS + rules.HEADING_SIGNS)}|{a_class(rules.ITEM_SIGNS)} |"
    f"{a_class(rules.ITEM_OPENERS)}{NUMBER}{a_class(rules.ITEM_CLOSERS)}|{NUMBER}(、|[.)）] )"
)

ITEM_NUMBER = re.compile(r"(?:([0-9]{1,3})|([a-z]))([.)]{1,2}) ")

STAMP = re.compile(r"/[0-9]{1,4}/[0-9]{1,4} [0-9]{1,4}:[0-9]{1,4}(?::[0-9]{1,4})?(?: ?[A-Za-z][mM])?")

STOP = re.compile(f"[/)\\-=*~{rules.BULLETS}{rules.BREAKS}{re.escape(MARKS)}]")

TABLES = {
    name: {word[:8] for word in getattr(rules, name).split()}
    for name in (
        *("NEVER_END", "NOT_BEFORE_NUMBER", "MAY_END", "EXCLAIMED_NAMES", "SENTENCE_STARTERS", "SHORT_WORDS"),
        *("LIST_NUMERALS", "BARE_CLOSINGS", "CLOSINGS", "CLOSING_ATTRIBUTES"),
    )
}


def end_of(pattern: re.Pattern[str], text: str, i: int) -> int:
    match = pattern.match(text, i)
    assert match
    return match.end()


def breaks_in(space: str) -> int:
    return len(re.findall(r"\r\n|[\n\r\u2028\u2029]", space)) + space.count("\u2029")


def a_starter(text: str, i: int) -> bool:
    word = re.compile("[A-Za-z]{0,8}").match(text, i)
    return word is not None and word.group().lower() in TABLES["SENTENCE_STARTERS"]


def begins_sentence(text: str, i: int) -> bool:
    return re.match("[A-Z](?![A-Z])", text[i : i + 2]) is not None and a_starter(text, i)


def names_speaker(text: str, i: int) -> bool:
    clause = re.compile("[\u3400-\u9fff]{0,10}").match(text, i)
    name = clause.group() if clause else ""
    follows = text[i + len(name) : i + len(name) + 1]
    spoken = name != "" and name[-1] in rules.SPEECH_VERBS and not set(name) & set(rules.NEGATIONS)
    return spoken and follows != "" and follows in MARKS + rules.PAUSES


def period_ends(text: str, i: int, head: int, nxt: int) -> bool:
    word = re.search(r"[A-Za-z0-9.]{0,24}\Z", text[max(head, i - 24, 0) : i])
    token = word.group().lower() if word else ""
    begins, after = i - len(token) == head, text[nxt : nxt + 1]
    lower = re.match(r"[a-zß-ÿ]", after) is not None
    number = r"\d{1,3}|[\d.]*\.[\d.]*|[a-z]|\.*[a-z]\.*"
    if begins and token and re.fullmatch(number, token) and token.count(".") < 4:
        return False
    known = {name for name, words in TABLES.items() if token in words}
    if begins and "LIST_NUMERALS" in known:
        return False
    if not token and re.match("[0-9]", after) and text[max(i - 1, 0) : i] in ("°", "º"):
        return False
    if not token or re.search(r"\d", token):
        return not lower
    if "NEVER_END" in known or ("NOT_BEFORE_NUMBER" in known and re.match("[0-9]", after)):
        return False
    letters, dots = len(token.replace(".", "")), token.count(".")
    if lower:
        quote = text[max(i - len(token) - 1, head) : i - len(token)]
        if letters == 1 and text[i - 1] == "s" and quote and quote in rules.QUOTE_CLOSERS.replace("＂", ""):
            return True
        plain = not dots and re.search("[aeiouy]", token) is not None
        plain = plain and not known & {"NEVER_END", "NOT_BEFORE_NUMBER", "MAY_END"}
        return plain and (letters > 2 or bool(known & {"SENTENCE_STARTERS", "SHORT_WORDS"}))
    initial = len(token) == 1 and text[i - 1].isupper()
    if "MAY_END" in known or initial or (dots and letters <= 2 * dots + 1):
        return after >= "\u2e80" or a_starter(text, nxt)
    return True


def ellipsis_ends(text: str, i: int, run: str, closed: str, behind: int) -> bool:
    space = end_of(SPACE, text, behind)
    word = end_of(OPENERS, text, space)
    after, direct = text[word : word + 1], text[behind : behind + 1]
    if not breaks_in(text[behind:space]) and "\u2e80" <= text[max(i - 1, 0) : i] <= "\uffff" and after < "\u2e80":
        return begins_sentence(text, word)
    if closed and text[space : space + 1] == "(":
        return False
    if space > behind:
        return re.match("[a-zß-ÿ]", after) is None
    before_cjk = direct >= "\u2e80" and direct not in rules.COMMAS
    return (run.count(".") > 2 and "A" <= direct <= "Z") or (closed != "" and before_cjk)


def mark_ends(text: str, i: int, head: int) -> tuple[bool, int]:
    behind = end_of(RUN, text, i)
    run, closed = text[i:behind], text[behind : end_of(CLOSERS, text, behind)]
    behind += len(closed)
    space = end_of(SPACE, text, behind)
    breaks, direct, spaced = breaks_in(text[behind:space]), text[behind : behind + 1], space > behind
    word = end_of(OPENERS, text, space)
    after, comma = text[word : word + 1], direct in tuple(rules.COMMAS)
    before_cjk = direct >= "\u2e80" and not comma
    if space == len(text) or breaks > 1 or (breaks == 1 and ITEM.match(text, space)):
        over = True
    elif before_cjk and set(closed) & set(rules.QUOTE_CLOSERS) and names_speaker(text, behind):
        over = False
    elif set(run) & set(rules.WIDES):
        over = not set(closed) & set(rules.TITLE_CLOSERS) and not comma
    elif spaced and (after in tuple(rules.COMMAS) or (closed and re.match("[a-zß-ÿ]", after))):
        over = False
    elif set(run) & set(rules.FINALS):
        over = spaced or before_cjk
        name = re.search("[A-Za-z]{0,24}\\Z", text[max(head, i - 24) : i])
        if spaced and name and name.group()[:1].isupper() and name.group().lower() in TABLES["EXCLAIMED_NAMES"]:
            over = begins_sentence(text, word)
    elif "…" in run or run.count(".") > 1:
        over = ellipsis_ends(text, i, run, closed, behind)
    elif spaced:
        over = period_ends(text, i, head, word)
    else:
        over = before_cjk and i > head and text[i - 1] > "\x7f"
    return over, space if over else behind


def item_number(text: str, i: int) -> tuple[int, str] | None:
    found = ITEM_NUMBER.match(text, i)
    return (int(found[1]) if found[1] else 1000 + ord(found[2]), found[3]) if found else None


def next_item(text: str, i: int, first: int, number: tuple[int, str] | None) -> int:
    digits = re.search("[A-Za-z0-9]{0,24}\\Z", text[max(first, i - 24) : i])
    begin = i - len(digits.group() if digits else "")
    if number is None or begin <= first or text[begin - 1] != " ":
        return 0
    return begin if item_number(text, begin) == (number[0] + 1, number[1]) else 0


def around_stamp(text: str, i: int, first: int) -> tuple[int, int, int]:
    digits = re.search("[0-9]{1,24}\\Z", text[max(first, i - 24) : i])
    found = STAMP.match(text, i)
    if not digits or not found:
        return 0, 0, i + 1
    begin, end = i - len(digits.group()), found.end()
    named = re.search(r"(?:\A|(?<=[\x00-\x20]))[A-Z](?:[^\x00-\x20]*[A-Za-z])? \Z", text[first:begin])
    after = end_of(SPACE, text, end)
    follows = after > end and re.match("[A-Z](?![A-Z])", text[after : after + 2])
    return begin if named else 0, after if follows else 0, end


def around_rule(text: str, i: int, first: int) -> tuple[int, int, int]:
    end = end_of(re.compile(re.escape(text[i]) + "+"), text, i)
    if end - i < 5 or i == first:
        return 0, 0, end
    if text.startswith(text[i] * 5, first):
        return 0, end + 1 if re.match(" [A-Za-z]", text[end : end + 2]) else 0, end
    return (i, 0, i) if re.search("[A-Za-z0-9] \\Z", text[first:i]) else (0, 0, end)


def closing_end(text: str, i: int) -> int:
    words: list[str] = []
    end = i
    while len(words) < 5:
        found = re.compile(" ([A-Za-z]{1,24})" if words else "([A-Za-z]{1,24})").match(text, end)
        listed = TABLES["CLOSINGS"] | TABLES["BARE_CLOSINGS"] | TABLES["CLOSING_ATTRIBUTES"]
        if not found or found[1].lower()[:8] not in listed:
            break
        words.append(found[1].lower()[:8])
        end = found.end()
    name = end_of(SPACE, text, end)
    closes = set(words) & (TABLES["CLOSINGS"] | TABLES["BARE_CLOSINGS"])
    comma = bool(closes) and text[name : name + 1] in (",", "-")
    if comma:
        name = end_of(SPACE, text, name + 1)
    if not (comma or (words and words[-1] in TABLES["BARE_CLOSINGS"])):
        return 0
    found = re.compile("(?:[A-Z][A-Za-z]{0,23} ?){0,3}").match(text, name)
    behind = found.end() if found else name
    after = end_of(SPACE, text, behind)
    alone = (
        after == len(text)
        or breaks_in(text[behind:after])
        or re.search(" [0-9]\\Z", text[behind - 1 : behind] + text[after : after + 1])
    )
    return name if behind > name and alone else 0


def twin(text: str) -> list[str]:
    first = i = line = end_of(SPACE, text, 0)
    ends = [0]
    head, number = -1, None
    while i < len(text):
        before = after = 0
        if head < 0:
            head = end_of(HEAD, text, first)
            number, after = item_number(text, head), closing_end(text, head)
            i = after or i
        elif not (stop := STOP.search(text, i)):
            break
        elif text[i := stop.start()] == ")":
            before, i = next_item(text, i, first, number), i + 1
        elif text[i] == "/":
            before, after, i = around_stamp(text, i, first)
        elif text[i] in rules.RULE_SIGNS:
            before, after, i = around_rule(text, i, first)
        elif text[i] in rules.BULLETS:
            before, i = i if i > head and text[i - 1] == " " else 0, i + 1
        elif text[i] == "." and (before := next_item(text, i, first, number)):
            i += 1
        else:
            begin = i
            if text[i] in rules.BREAKS:
                i = end_of(SPACE, text, i)
                over = breaks_in(text[begin:i]) > 1 or text[line] == "#" or ITEM.match(text, i) is not None
                line = i
            else:
                over, i = mark_ends(text, i, head)
                line = i if over and breaks_in(text[begin:i]) else line
            after = i if over else 0
        for end in (before, after):
            if end > first:
                ends.append(end)
                first, head = end, -1
    if ends[-1] < len(text):
        ends.append(len(text))
    return [text[a:b] for a, b in pairwise(ends)]
