"""
Names and limits of ERCOT's External Web Services (EWS).

Source of all of them: the public repository `ercot/api-specs`, folder `ews`, commit 8bc5467 (2026-07-02): the schemas,
the pages *Services Organization*, *Market Transaction Service*, *Get Notifications* and Appendix D.
"""

from zoneinfo import ZoneInfo

ZONE = ZoneInfo("America/Chicago")
"""Central prevailing time: trading dates and hours are its."""

EWS = "http://www.ercot.com/schema/2007-06/nodal/ews"
MESSAGE = "http://www.ercot.com/schema/2007-06/nodal/ews/message"
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
WSSE = "http://www.docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
"""With `www.`, unlike OASIS's own: so in ERCOT's schemas and in Appendix D."""
WSU = "http://www.docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
DS = "http://www.w3.org/2000/09/xmldsig#"

ACTION = "/BusinessService/NodalService.serviceagent/HttpEndPoint/"
"""Beginning of every SOAPAction; an operation's name follows (Nodal.wsdl)."""

ENERGY = "energy-rt"
REG_DOWN = "reg-down"
AS_OFFER, ENERGY_BID = "ASOffer", "RTMEnergyBid"

ONLINE = "REGUP-RRS-ONNS"
"""One ASOffer of a resource holds all of its upward services: they share blocks, hence documents and fate."""
DOWN = "Reg-Down"

BLOCK_PRICES = {
    "reg-up": "REGUP",
    "rrs-pfr": "RRSPF",
    "rrs-ffr": "RRSFF",
    "rrs-ufr": "RRSUF",
    "non-spin": "ONNS",
    "ecrs": "ECRS",
}
"""Product → element that holds its price in a block of `OnLineReserves`, in the schema's order."""

PRODUCTS = (ENERGY, REG_DOWN, *BLOCK_PRICES)
"""In the order in which a document holds them."""

AWARDED = {
    "Reg-Up": "reg-up",
    "Reg-Down": REG_DOWN,
    "RRSPF": "rrs-pfr",
    "RRSFF": "rrs-ffr",
    "RRSUF": "rrs-ufr",
    "On-Non-Spin": "non-spin",
    "ECRSS": "ecrs",
    "ECRSM": "ecrs",
}
"""`asType` of an award → product; ECRS that SCED dispatches and ECRS called by hand are one product of ours."""

MAX_POINTS = 10
"""CurveData of one PriceCurve (schema)."""
MAX_BLOCKS = 5
"""OnLineReserves or RegDown of one ASPriceCurve (schema), all services together."""
MAX_PAYLOAD_BYTES = 1_000_000
"""A larger payload would have to travel compressed; ours do not."""
MAX_REPLY_BYTES = 8_000_000
"""Ours, not ERCOT's (it limits a compressed reply to 3 MB): more than this is refused unread, unzipped or not."""
QUERY_DAYS = 4
"""How far back notifications are kept; one query spans a day at most."""


def clark(namespace: str, name: str) -> str:
    """Return *name* in *namespace* as lxml writes it."""
    return f"{{{namespace}}}{name}"
