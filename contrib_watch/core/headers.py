"""Which field a column's header probably means: the words of price sheets, in English and German.

A header is taken apart into words, the words are brought to one form (``Geldkurs`` is ``bid price``), and the meaning
with the most words among them wins. Only fields that the site's dictionary has are ever named.
"""

from __future__ import annotations

import re
import unicodedata
from difflib import get_close_matches
from typing import NamedTuple

from contrib_watch.core.dictionary import Dictionary

LIKELY = 0.8
"""How alike a header and an acronym must be spelled to be named together (1: the same)."""


class Guess(NamedTuple):
    """A field that a header may mean."""

    acronym: str
    doubt: str = ""
    """What speaks against it; empty: nothing in the header does."""


_FORMS = {
    "bid": "bid geld geldkurs gk ankauf ankaufskurs bidprice bidpx acheteur",
    "ask": "ask brief briefkurs bk offer offered verkauf verkaufskurs askprice askpx ausgabepreis vendeur",
    "mid": "mid mitte mittel mittelkurs middle midprice midpx",
    "price": "price kurs preis px quote rate cours cotation",
    "yield": "yield yld rendite rend ytm rendement",
    "bid yield": "geldrendite bidyield",
    "ask yield": "briefrendite askyield",
    "mid yield": "mittelrendite midyield",
    "spread": "spread sprd aufschlag",
    "last": "last letzter letzte trade schluss dernier",
    "open": "open opening eroeffnung eroeffnungskurs",
    "high": "high hoch hoechst hoechstkurs tageshoch",
    "low": "low tief tiefst tiefstkurs tagestief",
    "close": "close closing schlusskurs settlement vortag vortageskurs",
    "year": "year jahr 52w 52wk",
    "change": "change chg net veraenderung diff differenz abs",
    "percent": "percent pct prozent proz relativ",
    "volume": "volume vol umsatz stueck stueckzahl volumen",
    "size": "size groesse menge",
    "coupon": "coupon cpn kupon coup zinssatz nominalzins zinskupon",
    "maturity": "maturity mat faelligkeit faellig endfaelligkeit laufzeitende matdate redemption echeance",
    "issue": "issue emission ausgabe begebung emissionsdatum",
    "accrued": "accrued stueckzinsen stueckzins aufgelaufen accint accr",
    "duration": "duration dur durtn",
    "modified": "modified mod modifiziert modifizierte modduration",
    "convexity": "convexity konvexitaet",
    "currency": "currency ccy cur curr waehrung whg waehr notierungswaehrung devise",
    "isin": "isin",
    "cusip": "cusip",
    "sedol": "sedol",
    "nav": "nav anteilwert anteilswert inventarwert nettoinventarwert niw ruecknahmepreis",
    "dividend": "dividend div ausschuettung dividende distribution",
    "ex": "ex extag exdate",
    "payment": "pay payment payable zahltag zahlbar",
    "date": "date datum tag dt day stand per",
    "time": "time zeit uhrzeit uhr tm heure",
    "fixing": "fixing fix",
    "trade": "trade handels handelstag",
    "value": "value valuta bewertung wert",
    "valuation date": "bewertungstag bewertungsdatum valutadatum navdatum",
    "quote date": "kursdatum preisdatum quotedate evaldate pricedate",
    "quote time": "kurszeit preiszeit quotetime evaltime pricetime",
    "evaluation": "eval evaluation evaluated",
    "name": "name bezeichnung kurzname displayname kurzbezeichnung libelle",
    "source": "source quelle contributor kontributor lieferant",
    "strike": "strike basispreis ausuebungspreis",
    "expiry": "expiry exp expiration verfall verfallstag ablauf",
    "volatility": "volatility iv implied implizite volatilitaet vola",
    "delta": "delta",
    "gamma": "gamma",
    "theta": "theta",
    "vega": "vega",
    "rho": "rho",
    "theoretical": "theoretical theo fair fairvalue theoretisch",
    "vwap": "vwap",
    "rating": "rating bonitaet",
    "pe": "pe kgv",
    "ratio": "ratio verhaeltnis",
}
"""Word -> its written forms, without umlauts and in small letters."""

_MEANINGS = {
    "bid": "BID",
    "ask": "ASK",
    "mid": "MID_PRICE",
    "bid yield": "BID_YIELD",
    "ask yield": "ASK_YIELD",
    "mid yield": "MID_YLD_1",
    "yield": "YIELD",
    "bid spread": "BID_SPREAD",
    "ask spread": "ASK_SPREAD",
    "last": "TRDPRC_1",
    "open": "OPEN_PRC",
    "open bid": "OPEN_BID",
    "open ask": "OPEN_ASK",
    "high": "HIGH_1",
    "low": "LOW_1",
    "bid high": "BID_HIGH_1",
    "bid low": "BID_LOW_1",
    "ask high": "ASK_HIGH_1",
    "ask low": "ASK_LOW_1",
    "year high": "YRHIGH",
    "year low": "YRLOW",
    "close": "HST_CLOSE OFF_CLOSE",
    "close bid": "CLOSE_BID",
    "close ask": "CLOSE_ASK",
    "close date": "HSTCLSDATE",
    "change": "NETCHNG_1 NAV_NETCHN",
    "change percent": "PCTCHNG",
    "nav change": "NAV_NETCHN",
    "volume": "ACVOL_1",
    "bid size": "BIDSIZE",
    "ask size": "ASKSIZE",
    "coupon": "COUPN_RATE",
    "maturity": "MATUR_DATE",
    "issue date": "ISSUE_DATE",
    "accrued": "ACCR_INT",
    "duration": "DURATION",
    "modified duration": "MOD_DURTN",
    "modified": "MOD_DURTN",
    "convexity": "CONVEXITY",
    "currency": "CURRENCY",
    "isin": "ISIN_CODE",
    "cusip": "CUSIP_CD",
    "sedol": "SEDOL",
    "nav": "NAV",
    "dividend": "DIVIDEND",
    "ex": "EXDIVDATE",
    "ex date": "EXDIVDATE",
    "ex dividend date": "EXDIVDATE",
    "payment": "DIVPAYDATE",
    "payment date": "DIVPAYDATE",
    "date": "QUOTE_DATE",
    "time": "QUOTIM",
    "quote date": "QUOTE_DATE",
    "price date": "QUOTE_DATE",
    "evaluation date": "QUOTE_DATE",
    "quote time": "QUOTIM",
    "price time": "QUOTIM",
    "evaluation time": "QUOTIM",
    "fixing date": "FIX_DATE",
    "fixing time": "QUOTIM",
    "trade date": "TRADE_DATE",
    "trade time": "TRDTIM_1",
    "value date": "VALUE_DT1",
    "valuation date": "VALUE_DT1",
    "name": "DSPLY_NAME",
    "source": "CTBTR_1",
    "strike": "STRIKE_PRC",
    "expiry": "EXPIR_DATE",
    "volatility": "IMP_VOLT",
    "delta": "DELTA",
    "gamma": "GAMMA",
    "theta": "THETA",
    "vega": "VEGA",
    "rho": "RHO",
    "theoretical": "THEO_VALUE",
    "vwap": "VWAP",
    "rating": "RATING",
    "pe": "PERATIO",
    "pe ratio": "PERATIO",
}
"""Words that say what a column is -> fields, the likeliest first."""

_WORD_OF = {form: frozenset(word.split()) for word, forms in _FORMS.items() for form in forms.split()}
_FIELDS_OF = {frozenset(words.split()): acronyms.split() for words, acronyms in _MEANINGS.items()}
_ADD_NOTHING = frozenset({"price", "percent", "date", "quote", "evaluation", "value"})
"""Words that leave the meaning of the others as it is; what the cells hold tells ``NAV`` from ``NAV per``."""
_FILLING = frozenset("in of the and per der des die und am zum p a pa de du la le eur usd gbp chf jpy".split())  # noqa: SIM905
_TOO_GENERAL = frozenset(
    {"date", "time", "name", "source", "last", "open", "high", "low", "close", "change", "volume"}
)
"""Words that mean something else beside a word that is not understood (``Settle date``)."""
_OF_ANOTHER_TIME = frozenset(
    "prev previous prior yesterday old vorherig vorheriger alt alter gestern precedent veille".split()  # noqa: SIM905
)
"""Words that make another value of a price: ``Prev Bid`` is no BID."""
_SCALES = frozenset(
    "bp bps bips k m mm mn mio mln million millions bn mia mrd tsd teur thousand thousands tausend permille".split()  # noqa: SIM905
)
"""Words that make another number of it: ``Coupon (bp)`` is no COUPN_RATE, whose 325 would be 3.25."""
_FACTOR = re.compile(r"(?<![0-9.,])1(?:00|(?:[ .,'\u2019]?000)+)(?![0-9.,])")
"""A factor as people write it below a name: ``x1000``, ``1'000``, ``in 100``."""
_RIC_WORDS = frozenset({"ric", "rics", "reuters", "refinitiv", "instrument", "identifier", "kennung"})
_DAYS_BEFORE = re.compile(r"\bT ?[-\u2013] ?[1-9]\b", re.IGNORECASE)
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})


def guesses(header: str, dictionary: Dictionary) -> list[Guess]:
    """The fields that ``header`` may mean, the likeliest first; empty where nothing speaks for any.

    A meaning that leaves a known word over is none: ``Chg Bid`` is not ``BID``, nor is yesterday's.
    """
    if dictionary.get(header) is not None:
        return [Guess(header)]
    written = [word for word in _words(header) if word not in _FILLING]
    if not (_OF_ANOTHER_TIME | _SCALES).isdisjoint(written) or _DAYS_BEFORE.search(header):
        return []
    unknown = [word for word in written if word not in _WORD_OF]
    words = frozenset[str]().union(*(_WORD_OF.get(word, ()) for word in written))
    doubt = f'"{" ".join(unknown)}" is not understood' if unknown else ""
    found = []
    for meaning in sorted(_FIELDS_OF, key=len, reverse=True):
        if meaning <= words and words - meaning <= _ADD_NOTHING and not (unknown and meaning <= _TOO_GENERAL):
            found += [Guess(name, doubt) for name in _FIELDS_OF[meaning] if dictionary.get(name) is not None]
    found = list(dict.fromkeys(found))  # two meanings may be of one field
    return found or _spelled_alike(header, dictionary)


def speaks_of_scale(unit: str) -> bool:
    """Whether a unit makes another number of those that it is of: ``bp``, ``in Tsd``, ``x1000``, but not ``EUR``."""
    return not _SCALES.isdisjoint(_words(unit)) or _FACTOR.search(unit) is not None


def names_a_column(text: str) -> bool:
    """Whether a text is nothing but words by which price sheets name columns: ``Bid px``, not ``%`` nor ``susp.``"""
    words = [word for word in _words(text) if word not in _FILLING]
    of_columns = _WORD_OF.keys() | _RIC_WORDS
    return (
        words != ["percent"] * len(words)
        and all(word in of_columns or word in _OF_ANOTHER_TIME or word in _SCALES for word in words)
        and not of_columns.isdisjoint(words)
    )


def is_known(header: str) -> bool:
    """Whether a word of the header is one that price sheets use."""
    return any(word in _WORD_OF or word in _RIC_WORDS for word in _words(header))


def speaks_of_rics(header: str) -> bool:
    """Whether the header names RICs."""
    return not _RIC_WORDS.isdisjoint(_words(header))


def _words(header: str) -> list[str]:
    plain = header.casefold().translate(_UMLAUTS).replace("%", " percent ")
    ascii_only = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
    return re.findall(r"[a-z]+|[0-9]+[a-z]*", ascii_only)


def _spelled_alike(header: str, dictionary: Dictionary) -> list[Guess]:
    wanted = "_".join(_words(header)).upper()
    alike = get_close_matches(wanted, dictionary.fields, n=1, cutoff=LIKELY)
    return [Guess(name, f"the name is only spelled like {name}") for name in alike]
