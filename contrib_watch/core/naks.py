"""What a Nak code means, in plain words, and what a person can do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Explanation:
    """A Nak code in the words of somebody who has never seen one."""

    meaning: str
    """What the ADS says: ``the ADS has no item of this name``."""
    mend: str
    """What to do, and who can do it."""


EXPLANATIONS: Mapping[str, Explanation] = {
    "AccessDenied": Explanation(
        "this user may not contribute to this RIC or Service",
        "ask your Market Data team to permit the user for this Service and RIC in DACS, then retry the drop",
    ),
    "DeniedBySrc": Explanation(
        "the source behind the Service refuses this contribution",
        "ask whoever runs the Service whether this RIC is yours to contribute, then retry the drop",
    ),
    "GatewayDown": Explanation(
        "the gateway between the ADS and the source is down",
        "nothing is wrong with the file: tell your Market Data team, and retry the drop once it is up",
    ),
    "InvalidContent": Explanation(
        "the content does not fit what the source expects",
        "compare the row's fields and values with what the source accepts; your Market Data team has its list",
    ),
    "ItemClosed": Explanation(
        "the ADS does not open the item, so that nothing could be posted on its stream",
        'check the spelling of the RIC; if the item does not exist yet, create it with posting = "off-stream"',
    ),
    "ItemNotOpen": Explanation(
        "the item's stream is closed for now, and nothing was posted on it",
        "nothing is wrong with the file: tell your Market Data team, and retry the drop once the Service is up",
    ),
    "NoResources": Explanation(
        "a system on the way to the source has no capacity left",
        "nothing is wrong with the file: retry the drop later; if it comes back, lower ads.rate_limit",
    ),
    "NoResponse": Explanation(
        "the source did not answer the ADS, so the value may or may not have been taken",
        "look the RIC up before relying on it, tell your Market Data team, then retry the drop",
    ),
    "NotOpen": Explanation(
        "the item or the Service is not open for contributions",
        "ask your Market Data team to open the Service or the item, then retry the drop",
    ),
    "SourceDown": Explanation(
        "the source behind the Service is down",
        "nothing is wrong with the file: tell your Market Data team, and retry the drop once it is up",
    ),
    "SourceUnknown": Explanation(
        "the ADS does not know the Service",
        "check the feed's service in the configuration with your Market Data team, then retry the drop",
    ),
    "SymbolUnknown": Explanation(
        "the ADS has no item of this name",
        "check the spelling of the RIC; where it is right, ask your Market Data team whether the item exists",
    ),
    "TooLarge": Explanation(
        "the post is larger than a message to the ADS may be, and was not sent",
        "contribute fewer fields for this RIC",
    ),
}
"""The codes that LSEG's protocol specification names, and this program's own: ItemClosed, ItemNotOpen, TooLarge.
The README says the same."""

_ERROR = Explanation(
    "the ADS could not read the post and answered with an Error",
    "compare what the text names with your site's field dictionary (fields.dictionary), or with the feed's service",
)
_UNNAMED = Explanation(
    "the ADS refused it with a code that has no published name",
    "show the code and the text to your Market Data team",
)


def explain(nak_code: str) -> Explanation:
    """The explanation of a code as an Ack message carries it.

    An empty code stands for an Error message, which carries none. A server gives the bare number of a code that it
    has no name for (132, seen on LSEG's SDK provider); such a code is explained as having no published name.
    """
    if not nak_code:
        return _ERROR
    return EXPLANATIONS.get(nak_code, _UNNAMED)
