"""The tables that `glmdata.text.sentences` splits by: what can be extended without touching the rules.

Abbreviations are of three kinds: those that never end a sentence, those that do not before a number, and those that
may, which the next word decides (the idea of frequent sentence starters is Punkt's: Kiss & Strunk 2006, Unsupervised
Multilingual Sentence Boundary Detection). The entries are common abbreviations of running English, of the classes that
the Chicago Manual of Style, chapter 10, goes through (titles, company forms, states, months, scholarly and Latin forms,
references); those that are also everyday words (miss, ill, wash) were left out. Lower case, without the last full stop,
at most eight letters. Initials (J. K.) and dotted abbreviations (U.S., p.m.) need no entry.
"""

__all__ = ["CLOSERS", "MAY_END", "NEVER_END", "NOT_BEFORE_NUMBER", "OPENERS", "SENTENCE_STARTERS", "TITLE_CLOSERS"]

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

SENTENCE_STARTERS = (
    "the this that these those he she it they we you i there here what who when where why how which his her its "
    "their our my your a an in on at for if but and or so then as by to from with after before although however "
    "while because since some many most all no not one do does did is are was were can could will would should "
    "may have has had let please thanks also another both each every such even just now once only still yet"
)
"""Function words: capitalised after a full stop they mean that a sentence begins."""

CLOSERS = "\"')]}*_”’»」』】〉》〕）］｝＂"
"""What belongs to the sentence that ended just before it (Markdown's emphasis too)."""

TITLE_CLOSERS = "》〉"
"""Closers of titles: a mark before them belongs to the title."""

OPENERS = "\"'([{*_`“‘«「『【（［"
"""What may stand before the first word of a sentence."""
