"""The tables that `glmdata.text.sentences` splits by: what can be extended without touching the rules.

Abbreviations are of three kinds: those that never end a sentence, those that do not before a number, and those that
may, which the next word decides (the idea of frequent sentence starters is Punkt's: Kiss & Strunk 2006, Unsupervised
Multilingual Sentence Boundary Detection). The entries are common abbreviations of running English, of the classes that
the Chicago Manual of Style, chapter 10, goes through (titles, company forms, states, months, scholarly and Latin forms,
references); those that are also everyday words (miss, ill, wash) were left out. Lower case, without the last full stop,
at most eight letters (of other words the first eight count). Initials (J. K.) and dotted abbreviations (U.S., p.m.)
need no entry.
"""

__all__ = [
    "BARE_CLOSINGS",
    "BREAKS",
    "BULLETS",
    "CLOSERS",
    "CLOSINGS",
    "CLOSING_ATTRIBUTES",
    "COMMAS",
    "EXCLAIMED_NAMES",
    "FINALS",
    "HEADING_SIGNS",
    "ITEM_CLOSERS",
    "ITEM_COMMAS",
    "ITEM_OPENERS",
    "ITEM_SIGNS",
    "LIST_NUMERALS",
    "MARKUP",
    "MAY_END",
    "NEGATIONS",
    "NEVER_END",
    "NOT_BEFORE_NUMBER",
    "NUMERALS",
    "OPENERS",
    "ORDINAL_SIGNS",
    "PAUSES",
    "QUOTE_CLOSERS",
    "RULE_SIGNS",
    "SENTENCE_STARTERS",
    "SHORT_WORDS",
    "SPACES",
    "SPEECH_VERBS",
    "TITLE_CLOSERS",
    "WIDES",
]

# --- words -----------------------------------------------------------------------------------------------------------

NEVER_END = (
    # titles and ranks, which stand before a name
    "mr mrs ms mx messrs mmes dr drs prof profs rev revd fr hon rt pres gov sen sens rep reps supt amb "
    "gen adm maj col lt ltc sgt cpl pvt capt cmdr cdr comdr brig det insp mt "
    # Latin and scholarly, which stand before what they introduce
    "e.g eg i.e ie viz cf vs v esp incl excl approx ca resp w.r.t a.k.a n.b ps "
    # before a name or a place
    "ald atty mme mlle"
)
"""Not an end, whatever follows."""

NOT_BEFORE_NUMBER = (
    "no nos nr fig figs eq eqs sec secs ch chap chaps vol vols pp p par para art arts app tab ex exs ver "
    "pt pts ed eds bk bks col cols sect cl pl plc tel ext jan feb mar apr jun jul aug sep sept oct nov dec rs "
    "abt op pop"
)
"""Not an end before a digit; else as any word. `No.` and `art.` end sentences, `No. 5` does not."""

MAY_END = (
    "inc ltd co corp bros plc llc jr sr esq etc al ph.d m.d b.a m.a u.s u.k u.n e.u a.m p.m a.d b.c d.c n.y l.a "
    "univ dept assoc ave blvd st ste ft rd hwy jct dist est mfg intl natl govt bldg min max avg hr hrs lbs oz sq "
    "ala ariz ark calif colo conn fla kan kans ky md mich minn mont neb nev okla ont pa "
    "penn tenn tex va vt wis wyo "
    "tue tues sat thu thur thurs fri jan feb apr jun jul aug sept oct nov dec"
)
"""An end if the next word is one that begins sentences (`SENTENCE_STARTERS`)."""

EXCLAIMED_NAMES = "yahoo jeopardy joomla wham oklahoma"
"""Names written with an exclamation mark, which is treated as the full stop of `MAY_END`."""

SENTENCE_STARTERS = (
    "the this that these those he she it they we you i there here what who when where why how which his her its "
    "their our my your a an in on at for if but and or so then as by to from with after before although however "
    "while because since some many most all no not one do does did is are was were can could will would should "
    "may have has had let please thanks also another both each every such even just now once only still yet"
)
"""Function words: capitalised after a full stop, or where no mark is, they mean that a sentence begins."""

SHORT_WORDS = "up us me go be am oh ok hi ya"
"""Words of two letters that are no abbreviations: `Set it up. i wish` has two sentences."""

LIST_NUMERALS = "ii iii iv vi vii viii ix xi xii"
"""Number list items, as `1.` and `a.` do."""

BARE_CLOSINGS = "thanks thx regards"
"""End a letter, before the name, with a comma or without: `Thanks Al`."""

CLOSINGS = "again regard wishes luck cheers best love sincerely faithfully yours truly respects you"
"""End a letter if a comma or dash follows: `Best wishes, Al`."""

CLOSING_ATTRIBUTES = "kind kindest warm warmest many good with very all in advance thank"
"""May stand beside one of `BARE_CLOSINGS` and `CLOSINGS`."""

# --- characters ------------------------------------------------------------------------------------------------------

FINALS, WIDES = "?!", "。！？｡"
"""Marks that end sentences before white space, and anywhere. (Full stops and … have rules of their own.)"""

BREAKS = "\n\r\u2028\u2029"
SPACES = " \t\v\f\xa0\u202f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""Line breaks, and other white space."""

COMMAS, PAUSES = ",;:，；：、", ",，"
"""A mark before one of them ends nothing; those that may follow the speaker of a quotation."""

CLOSERS = "\"')]}*_”’»」』】〉》〕）］｝＂"
"""What belongs to the sentence that ended just before it (Markdown's emphasis too)."""

QUOTE_CLOSERS = "\"'”’」』＂"
"""Those of them that end a quotation."""

TITLE_CLOSERS = "》〉"
"""Closers of titles: a mark before them belongs to the title."""

OPENERS = "\"'([{*_`“‘«「『【（［"
"""What may stand before the first word of a sentence."""

BULLETS, HEADING_SIGNS = "•●⁃▪◦■", "#·"
"""Begin list items anywhere behind white space; begin them or headings at the head of a line."""

ITEM_SIGNS = "-*+"
"""Begin list items at the head of a line, if a space follows."""

MARKUP = BULLETS + HEADING_SIGNS + ITEM_SIGNS + " >"
"""May stand before the first word of a sentence."""

NUMERALS = "一二三四五六七八九十"
"""Number list items, as digits do."""

ITEM_OPENERS, ITEM_CLOSERS, ITEM_COMMAS = "(（", ")）", "、"
"""What stands around or behind the number: `(1)`, `（一）`, `一、`; also `1. ` and `1) `."""

ORDINAL_SIGNS = "°º"
"""Before a full stop and a digit they are an abbreviation: `N°. 5`."""

RULE_SIGNS = "-=*~"
"""Five of one draw a line."""

SPEECH_VERBS = "说說道问問喊叫答讲講嚷骂罵叹嘆劝勸"
"""Verbs of speech: a few Han characters that end with one, between a quotation and a mark, name the speaker."""

NEGATIONS = "不没沒未知难難"
"""Characters that make other words of them: `他没有回答。`, `我不知道。`"""
