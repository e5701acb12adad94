"""How a BMC says no: an error document with messages of the DMTF's Base registry (DSP0266, "Error responses")."""

import json

from doubles import pages
from doubles.pages import Page

GENERAL = "A general error has occurred. See ExtendedInfo for more information."


def refusal(status: int, name: str, message: str) -> Page:
    """Return a page that refuses a request, with the registry's message *name* and its text filled in."""
    message_id = f"Base.1.8.{name}"
    info = {"@odata.type": "#Message.v1_1_1.Message", "MessageId": message_id, "Message": message}
    body = {"error": {"code": "Base.1.8.GeneralError", "message": GENERAL, "@Message.ExtendedInfo": [info]}}
    return Page(json.dumps(body), status=status, content_type=pages.JSON)


def unwritable(what: str) -> Page:
    """Refuse to write a property that is there."""
    return refusal(400, "PropertyNotWritable", f"The property {what} is a read only property and cannot be assigned.")


def unknown(what: str) -> Page:
    """Refuse a property that is not there."""
    return refusal(400, "PropertyUnknown", f"The property {what} is not in the list of valid properties.")


def of_wrong_type(what: str, value: object) -> Page:
    """Refuse what is no number."""
    text = f"The value '{value}' for the property {what} is of a different type than the property can accept."
    return refusal(400, "PropertyValueTypeError", text)


def out_of_range(what: str, value: object) -> Page:
    """Refuse a number beyond AllowableMin and AllowableMax."""
    text = f"The value '{value}' for the property {what} is not in the supported range of acceptable values."
    return refusal(400, "PropertyValueOutOfRange", text)


def malformed() -> Page:
    """Refuse a body that is no JSON object."""
    text = "The request body submitted was malformed JSON and could not be parsed by the receiving service."
    return refusal(400, "MalformedJSON", text)


def unprivileged() -> Page:
    """Refuse a user who may only look."""
    text = (
        "There are insufficient privileges for the account or credentials associated with the current session to "
        "perform the requested operation."
    )
    return refusal(403, "InsufficientPrivilege", text)


def not_allowed() -> Page:
    """Refuse a method."""
    return refusal(405, "OperationNotAllowed", "The HTTP method is not allowed on this resource.")


def stale() -> Page:
    """Refuse an ETag that is no longer the resource's."""
    text = "The ETag supplied did not match the ETag required to change this resource."
    return refusal(412, "PreconditionFailed", text)


def unconditional() -> Page:
    """Refuse a change without an ETag."""
    text = "A precondition header or annotation is required to change this resource."
    return refusal(428, "PreconditionRequired", text)
