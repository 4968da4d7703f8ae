"""What stands between Flower and a node's work: errors, the wire's precision, privacy.

Flower calls mods from the outside in; they are used in this order.
"""

from logging import ERROR

from flwr.app import ConfigRecord, Context, Error, Message
from flwr.clientapp.mod import LocalDpMod, adaptiveclipping_mod, fixedclipping_mod
from flwr.clientapp.typing import ClientAppCallable
from flwr.common.constant import ErrorCode
from flwr.supercore import log

from federation.memory import Memory
from federation.records import ARRAYS, CONFIG, from_record, pack, to_record, unpack
from federation.settings import Settings
from federation.versions import check_flower
from sensors.errors import InputError

_RESIDUAL = "residual"
FLOWER = "flwr"
"""Key of the server's version of Flower in a message's configuration."""


def errors_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Answer what cannot be used by an error that says why, here and at the server."""
    try:
        config = message.content.get(CONFIG)
        theirs = config.get(FLOWER) if isinstance(config, ConfigRecord) else None
        check_flower(None if theirs is None else str(theirs))
        return call_next(message, context)
    except InputError as error:
        log(ERROR, "This node cannot take part: %s", error)
        refusal = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=str(error))
        return Message(refusal, reply_to=message)


def wire_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Unpack what comes; send what the weights changed by, in the precision of the run.

    What rounding loses is kept here, and added to what is sent in the next round.
    """
    settings = Settings.read(context.run_config)
    received = unpack(message.content.array_records[ARRAYS])
    message.content[ARRAYS] = to_record(received)
    reply = call_next(message, context)
    if reply.has_error() or ARRAYS not in reply.content.array_records:
        return reply
    learned = from_record(reply.content.array_records[ARRAYS])
    update = {name: learned[name] - array for name, array in received.items()}
    if settings.precision == "float32":
        reply.content[ARRAYS], _ = pack(update, settings.precision, None)
        return reply
    memory, number = Memory.of(message, context)
    residual = memory.load(number, _RESIDUAL)
    reply.content[ARRAYS], left = pack(update, settings.precision, residual)
    memory.keep(number, _RESIDUAL, left)
    return reply


def privacy_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Clip and blur as Flower does, if the run asks its nodes for it."""
    settings = Settings.read(context.run_config)
    if settings.privacy == "local":
        # The updates of any two data sets differ by twice the clipping norm at most.
        mod = LocalDpMod(
            settings.clipping_norm, 2 * settings.clipping_norm, settings.epsilon, settings.delta
        )
        return mod(message, context, call_next)
    if settings.is_central and settings.clipping == "client":
        clip = fixedclipping_mod if settings.privacy == "central-fixed" else adaptiveclipping_mod
        return clip(message, context, call_next)
    return call_next(message, context)
